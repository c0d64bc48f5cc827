"""What names of images say, in the forms in which such data sets are passed around."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.findings import Vertebra
from training.images.image_names import AmbiguousName, NamePatterns, facts_of

PATTERNS = NamePatterns()


def facts(path, patterns=PATTERNS):
    return facts_of(PurePosixPath(path), patterns)


@pytest.mark.parametrize(
    ("path", "level", "fractured"),
    [
        ("C3/fracture/a.png", 3, True),
        ("fracture/C-7 left.png", 7, True),
        ("c1_normal_004.png", 1, False),
        ("cervical fracture/val/non-fractured/x.png", None, False),
        ("Fractured/no_level.png", None, True),
        ("no fracture/C2.png", 2, False),
        ("healthy/p1/004.png", None, False),
        ("C5/004.png", 5, None),
        ("abnormal/CSFDV1B10 (1).png", None, None),
        ("Pic1/C8.png", None, None),
    ],
)
def test_labels_are_read_from_names_and_folders(path, level, fractured):
    found = facts(path)
    assert found.level == (None if level is None else Vertebra(level))
    assert found.fractured is fractured


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fracture/img_001.png", "fracture/img_001_flip.png"),
        ("train/fracture/1.2.826.43-0012.jpg", "val/normal/1.2.826.43-0013.jpg"),
        ("fracture/CSFDV1B10 (1).png", "fracture/CSFDV1B10 (1)-sharpened-rotated1-rotated1.png"),
        ("fracture/CSFDV1B10 (1).png", "normal/CSFDV1B10 (9).png"),
        ("C3_fracture_patient12_004_rot90.png", "C4_normal_patient12_010.png"),
        ("patient12/fracture/C3/001.png", "patient12/normal/002.png"),
        ("normal/p7_png.rf.0123456789abcdef0123456789abcdef.jpg", "normal/p7.png"),
        ("normal/aug_17_3821.png", "normal/aug_17_20.png"),
        ("normal/p12_0_1234.png", "normal/p12.png"),
        ("normal/case_12 - Copy.png", "normal/case_12.png"),
        ("normal/johndoe_004.png", "fracture/johndoe_005.png"),
        ("normal/case000123-ax-01.png", "fracture/case000123-sag-02.png"),
    ],
)
def test_copies_and_slices_of_one_study_are_one_group(one, other):
    assert facts(one).group == facts(other).group


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fracture/img_001.png", "fracture/img_002.png"),
        ("fracture/patient_12.png", "fracture/patient_13.png"),
        ("patient12/fracture/001.png", "patient13/fracture/001.png"),
        ("17/IM0001.dcm", "18/IM0001.dcm"),
        ("normal/p1_004.png", "normal/p2_004.png"),
    ],
)
def test_different_studies_are_different_groups(one, other):
    assert facts(one).group != facts(other).group


@pytest.mark.parametrize(
    ("name", "maker"),
    [
        ("p7_rot90.png", "an augmentation"),
        ("aug_p7.png", "an augmentation"),
        ("p7-flipped.png", "an augmentation"),
        ("p7 - Copy.png", "a copy"),
        ("p7 (2).png", "a number in brackets"),
        ("p7_0_9123.png", "Keras' ImageDataGenerator"),
        ("p7_jpg.rf.0123456789abcdef0123456789abcdef.jpg", "Roboflow"),
        ("p7_004.png", ""),
        ("rotterdam_12.png", ""),
    ],
)
def test_names_of_copies_tell_who_made_them(name, maker):
    assert facts(f"normal/{name}").augmented == maker


@pytest.mark.parametrize("path", ["C2-C3/a.png", "fracture/normal_1.png", "C1/C2_x.png"])
def test_a_path_that_says_two_things_is_ambiguous(path):
    with pytest.raises(AmbiguousName):
        facts(path)


def test_a_site_gives_its_own_patterns():
    patterns = NamePatterns(
        level=r"lev(\d)", fractured="bruch", normal="gesund", group=r"^(?P<group>[^/]+)/", augmented="_gedreht$"
    )
    found = facts("haus7/bruch/lev4_a_gedreht.png", patterns)
    assert (found.level, found.fractured, found.group, found.augmented) == (Vertebra.C4, True, "haus7", "this site")
    with pytest.raises(AmbiguousName, match="group"):
        facts("lev4_bruch.png", patterns)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"level": "("}, "no regular expression"), ({"level": "C1"}, "group for the level"), ({"group": "x"}, "P<group>")],
)
def test_patterns_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NamePatterns(**settings)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_name_has_a_group_or_is_ambiguous(folder, name):
    path = PurePosixPath("/".join(part.replace("/", "_") for part in (folder, name)) or "x")
    try:
        group = facts_of(path, PATTERNS).group
    except AmbiguousName:
        return
    assert group or not path.stem
