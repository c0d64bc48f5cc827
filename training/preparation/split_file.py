"""Splits as a table: saved beside the prepared studies for a person to read and change, and published ones read.

A table needs the column ``split`` and one that says whom a row is about: ``name`` (of a prepared study), ``study`` (its
key in the data set) or ``patient``. A column ``data_set`` tells apart what several data sets name alike.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.datasets.studies import DataSetError
from training.preparation.prepared import Split, write_whole
from training.preparation.split import SplitStudy, class_of

SPLIT_FILE = "split.csv"
WORDS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "validation": Split.VALIDATION,
    "validate": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "val": Split.VALIDATION,
    "test": Split.TEST,
}
"""How tables name the splits, in any case."""
NAMED_BY = ("name", "study", "patient")
"""The columns that may say which study a row of a split file is about."""


def write_split(folder: Path, studies: Sequence[SplitStudy], splits: Mapping[str, Split]) -> None:
    """Save the decisions beside the prepared studies."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["name", "data_set", "patient", "split", "class", "fractures"])
    for study in sorted(studies, key=lambda one: one.name):
        broken = " ".join(level.name for level, fractured in sorted(study.fractures.items()) if fractured)
        about = [study.name, study.data_set, study.patient, splits[study.name], class_of(study.fractures), broken]
        table.writerow(about)
    write_whole(folder, folder / SPLIT_FILE, lambda part: part.write_text(text.getvalue(), encoding="utf-8"))


def read_split(path: Path, studies: Sequence[SplitStudy]) -> dict[str, Split]:
    """The splits that a table gives to studies, by name; rows about other studies are left out.

    Raises ``DataSetError`` for a file that is no such table, with every row that cannot be understood.
    """
    rows = _rows(path)
    called: dict[tuple[str, str], list[SplitStudy]] = defaultdict(list)
    for study in studies:
        for column, value in (
            ("name", study.name),
            ("study", study.name),
            ("study", study.key),
            ("patient", study.patient),
            ("patient", study.patient_id),
        ):
            called[column, value].append(study)
    found: dict[str, Split] = {}
    problems = []
    for line, row in rows:
        split = WORDS.get(row["split"].lower())
        if split is None:
            problems.append(f"{path}, line {line}: {row['split']!r} is no split: write train, validation or test")
            continue
        column = next((column for column in NAMED_BY if row.get(column)), "name")
        meant = [one for one in called[column, row.get(column, "")] if row.get("data_set") in {None, "", one.data_set}]
        problems += [
            f"{path}, line {line}: {study.name} ({study.key}) was given another split above"
            for study in meant
            if found.setdefault(study.name, split) is not split
        ]
    if problems:
        raise DataSetError(*problems)
    return found


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            columns = [str(name).strip().lower() for name in table.fieldnames or ()]
            if "split" not in columns or not set(NAMED_BY) & set(columns):
                raise DataSetError(f"{path} needs the columns split and one of {', '.join(NAMED_BY)}; it has {columns}")
            table.fieldnames = columns
            return [
                (table.line_num, {column: (row[column] or "").strip() for column in columns if column}) for row in table
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataSetError(f"{path} cannot be read as a table of splits: {error}") from error
