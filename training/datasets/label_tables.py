"""Tables of labels as CSV: which levels of a study are fractured, which patient a study is of.

A table of fractures has a column with the study's key and the columns C1 to C7: 1 (fractured), 0 (intact) or nothing
(unknown); other columns are left alone. Keys are compared with what is in a folder and never name a path.
"""

import csv
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from model.findings import Vertebra
from training.datasets.studies import DataSetError

MAXIMUM_BYTES = 64 << 20
STUDY_COLUMN = "study"
PATIENT_COLUMN = "patient"
_CELLS: Mapping[str, bool | None] = {"1": True, "0": False, "": None}

Fractures = Mapping[Vertebra, bool | None]


def read_rows(path: Path, columns: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a table with their line numbers; ``DataSetError`` when it cannot be read or a column is missing."""
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise DataSetError(f"{path} has more than {MAXIMUM_BYTES >> 20} MB: it is no table of labels")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_rows(path, csv.DictReader(file), columns))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataSetError(f"{path} cannot be read as a CSV table ({error}): check the file and its name") from error


def _rows(path: Path, reader: "csv.DictReader[str]", columns: Collection[str]) -> Iterator[tuple[int, dict[str, str]]]:
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise DataSetError(f"{path} has no column {', '.join(missing)}: its columns must be {', '.join(columns)}")
    for row in reader:
        yield reader.line_num, {column: (row[column] or "").strip() for column in columns}


def read_fractures(path: Path, key: str = STUDY_COLUMN, *, complete: bool = False) -> dict[str, Fractures]:
    """What a table says of each study; with ``complete`` every level must be known.

    Raises ``DataSetError`` that names each wrong cell and each study that occurs twice.
    """
    names = [level.name for level in Vertebra]
    fractures: dict[str, Fractures] = {}
    problems: list[str] = []
    for line, row in read_rows(path, (key, *names)):
        wrong = [name for name in names if row[name] not in _CELLS or (complete and not row[name])]
        if wrong:
            allowed = "1 or 0" if complete else "1, 0 or nothing"
            problems.append(f"{path}, line {line}: {', '.join(wrong)} must be {allowed}: correct the table")
        if not row[key] or row[key] in fractures:
            problems.append(f"{path}, line {line}: the study {'is listed twice' if row[key] else 'is not named'}")
        fractures[row[key]] = {level: _CELLS.get(row[level.name]) for level in Vertebra}
    if problems:
        raise DataSetError(*problems)
    return fractures


def read_patients(path: Path) -> dict[str, str]:
    """The patient of each study in a table; ``DataSetError`` where one is missing or a study is listed twice."""
    patients: dict[str, str] = {}
    problems: list[str] = []
    for line, row in read_rows(path, (STUDY_COLUMN, PATIENT_COLUMN)):
        if not row[STUDY_COLUMN] or not row[PATIENT_COLUMN] or row[STUDY_COLUMN] in patients:
            problems.append(f"{path}, line {line}: every study has one line with its patient: correct the table")
        patients[row[STUDY_COLUMN]] = row[PATIENT_COLUMN]
    if problems:
        raise DataSetError(*problems)
    return patients


def strangers(path: Path, listed: Collection[str], present: Collection[str]) -> list[str]:
    """A problem for each study of a table that is not there."""
    advice = "add its files, take it out of the table, or name it in leave_out"
    return [f"{path}: study {key!r} is not in the folder: {advice}" for key in sorted(set(listed) - set(present))]
