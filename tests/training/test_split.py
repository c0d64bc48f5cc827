"""Who is for training, for validation and for the test, and that it stays so."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from model.findings import Vertebra
from training.datasets.studies import DataSetError
from training.preparation.prepared import UNFINISHED, Split
from training.preparation.split import SplitStudy, assign, check_classes, class_of, missing_levels
from training.preparation.split_file import SPLIT_FILE, read_split, write_split

SHARES = {Split.TRAIN: 0.7, Split.VALIDATION: 0.15, Split.TEST: 0.15}


def study(number: int, levels=(), patient: int | None = None, **changed) -> SplitStudy:
    patient = number if patient is None else patient
    truth = {level: level in levels for level in Vertebra}
    made = SplitStudy(f"set-{number}", "set", f"hash {patient}", f"1.2.{number}", f"P{patient}", truth, masked=False)
    return replace(made, **changed)


def many(count: int, seed: int = 0) -> list[SplitStudy]:
    """Studies of which 45 of 100 are fractured, C3 seldom, one in ten with a mask, two of some patients."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        levels = [level for level in Vertebra if rng.random() < (0.03 if level is Vertebra.C3 else 0.09)]
        made.append(study(number, levels, number - number % 7 % 2, masked=bool(rng.random() < 0.1)))
    return made


def shares_of(studies, splits, chosen=lambda _: True) -> dict[Split, float]:
    counts = Counter(splits[one.name] for one in studies if chosen(one))
    return {split: counts[split] / sum(counts.values()) for split in Split}


def test_patients_stay_together_and_every_trait_is_spread_by_the_shares():
    studies = many(600)
    splits = assign(studies, SHARES, seed=1)
    for patient in {one.patient for one in studies}:
        assert len({splits[one.name] for one in studies if one.patient == patient}) == 1
    rules = [lambda one: class_of(one.fractures) == "fractured", lambda one: one.masked]
    rules += [lambda one, level=level: one.fractures[level] for level in Vertebra]
    assert shares_of(studies, splits) == pytest.approx(SHARES, abs=0.02)
    for rule in rules:
        assert shares_of(studies, splits, rule) == pytest.approx(SHARES, abs=0.06)


def test_a_split_depends_on_its_seed_and_not_on_the_order_of_files():
    studies = many(60)
    splits = assign(studies, SHARES, seed=1)
    assert assign(studies[::-1], SHARES, seed=1) == splits
    assert assign(studies, SHARES, seed=2) != splits


def test_whoever_has_a_split_keeps_it_when_studies_are_added():
    studies = many(300)
    before = assign(studies[:100], SHARES, seed=1)
    after = assign(studies, SHARES, seed=1, given=before)
    assert {name: after[name] for name in before} == before
    assert shares_of(studies, after) == pytest.approx(SHARES, abs=0.02)


def test_a_new_study_of_a_known_patient_goes_where_the_patient_is():
    given = {"set-1": Split.TEST}
    assert assign([study(1), study(2, patient=1)], SHARES, 1, given)["set-2"] is Split.TEST


def test_few_patients_are_enough_when_each_split_can_have_both_classes():
    studies = [study(number, [Vertebra(number + 1)] if number < 3 else ()) for number in range(6)]
    for seed in range(10):
        splits = assign(studies, SHARES, seed)
        check_classes([(splits[one.name], one.fractures) for one in studies], SHARES)


def test_patients_who_are_too_few_for_all_splits_go_by_the_shares():
    assert assign([study(1)], SHARES, 1) == {"set-1": Split.TRAIN}
    halves = {Split.TRAIN: 0.4, Split.VALIDATION: 0.3, Split.TEST: 0.3}
    assert sorted(assign([study(1), study(2)], halves, 1).values()) == [Split.TRAIN, Split.VALIDATION]


def test_a_share_of_nothing_gets_nobody():
    splits = assign(many(40), {Split.TRAIN: 0.8, Split.VALIDATION: 0.2, Split.TEST: 0.0}, seed=1)
    assert set(splits.values()) == {Split.TRAIN, Split.VALIDATION}


def test_a_source_for_the_test_alone_goes_there_and_the_others_are_dealt_out():
    outside = [replace(one, name=f"far-{one.name}", data_set="far", fixed=Split.TEST) for one in many(20)]
    outside = [replace(one, patient=f"far {one.patient}") for one in outside]
    splits = assign([*many(100), *outside], SHARES, seed=1)
    assert {splits[one.name] for one in outside} == {Split.TEST}
    assert len({splits[one.name] for one in many(100)}) > 1


def test_one_patient_in_two_splits_is_refused_by_name():
    with pytest.raises(DataSetError, match=r"set-1 \(1\.2\.1\), set-2 \(1\.2\.2\) are of one patient"):
        assign([study(1), study(2, patient=1)], SHARES, 1, {"set-1": Split.TEST, "set-2": Split.TRAIN})


@pytest.mark.parametrize(
    ("truths", "named"),
    [
        ([(Split.TRAIN, {Vertebra.C1: True})], "the validation split is empty (1 studies in all)"),
        (
            [(split, {Vertebra.C1: split is Split.TRAIN}) for split in Split] + [(Split.TRAIN, {Vertebra.C1: False})],
            "the test split has no fractured study (1 in all)",
        ),
        ([(split, {Vertebra.C1: True}) for split in Split], "the train split has no intact study (0 in all)"),
    ],
)
def test_an_empty_split_or_class_says_what_to_do(truths, named):
    with pytest.raises(DataSetError) as caught:
        check_classes(truths, SHARES)
    assert named in str(caught.value)
    assert "allow_missing_class" in str(caught.value)


def test_masks_without_a_word_on_fractures_ask_for_no_class():
    check_classes([(split, {}) for split in Split], SHARES)


def test_levels_without_a_fracture_are_told_of_each_split():
    truths = [(Split.TRAIN, dict.fromkeys(Vertebra, True)), (Split.VALIDATION, {Vertebra.C1: True}), (Split.TEST, {})]
    validation, test = missing_levels(truths, SHARES)
    assert validation == "the validation split has no fracture of C2, C3, C4, C5, C6, C7"
    assert test.startswith("the test split has no fracture of C1")


def test_a_saved_split_is_read_again_and_names_nobody(tmp_path):
    (tmp_path / UNFINISHED).mkdir()
    studies = many(30)
    splits = assign(studies, SHARES, seed=1)
    write_split(tmp_path, studies, splits)
    assert read_split(tmp_path / SPLIT_FILE, studies) == splits
    text = (tmp_path / SPLIT_FILE).read_text()
    assert "1.2." not in text
    assert "P1" not in text
    assert text.splitlines()[0] == "name,data_set,patient,split,class,fractures"


@pytest.mark.parametrize("column", ["study", "patient"])
def test_a_published_split_is_honored_and_the_others_are_dealt_out(tmp_path, column):
    studies = [one for one in many(40) if one.patient == f"hash {one.name[4:]}"]
    called = {"study": lambda one: one.key, "patient": lambda one: one.patient_id}[column]
    rows = [f"{called(one)},{word}" for one, word in zip(studies[:6], ["Val", "val", "TEST"] * 2, strict=True)]
    rows.append("of another data set,train")
    path = tmp_path / "published.csv"
    path.write_text("\ufeff" + f"{column.upper()},Split\n" + "\n".join(rows), encoding="utf-8")
    given = read_split(path, studies)
    splits = assign(studies, SHARES, 1, given)
    assert [given[one.name] for one in studies[:3]] == [Split.VALIDATION, Split.VALIDATION, Split.TEST]
    assert {name: splits[name] for name in given} == given
    assert len(splits) == len(studies)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("study,part\n1,train", "needs the columns split and one of name, study, patient"),
        ("study,split\n1.2.1,holdout", "line 2: 'holdout' is no split"),
        ("study,split\n1.2.1,train\n1.2.1,test", "line 3: set-1 (1.2.1) was given another split above"),
        ("", "needs the columns"),
        (None, "cannot be read"),
    ],
)
def test_a_table_that_gives_no_split_is_refused_with_its_line(tmp_path, text, named):
    path = tmp_path / "published.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DataSetError) as caught:
        read_split(path, [study(1)])
    assert named in str(caught.value)
    assert "published.csv" in str(caught.value)


def test_a_row_is_about_its_own_data_set(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text("data_set,study,split\nfar,1.2.1,test\n", encoding="utf-8")
    here, far = study(1), study(1, name="far-1", data_set="far")
    assert read_split(path, [here, far]) == {"far-1": Split.TEST}
