"""What two splits must not share, and fingerprints of pictures that are nearly the same."""

import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from model.crops import CropConfig
from model.findings import Vertebra
from model.preprocess import PreprocessConfig, prepare
from training.datasets.studies import DataSetError
from training.preparation import leakage, prepared
from training.preparation.leakage import NEAR_BITS, find_leaks, fingerprint, near_duplicates, sentence
from training.preparation.prepared import PreparedStudy, Split, read_prepared
from training.synthesis.phantom import make_phantom

SPLITS = (Split.TRAIN, Split.TEST)


@cache
def neck(seed: int) -> tuple[np.ndarray, tuple[float, float, float]]:
    phantom = make_phantom(seed)
    phantom.hu.setflags(write=False)
    return phantom.hu, phantom.spacing_mm


def field(hu, spacing_mm=None, seed=1):
    return prepare(hu, spacing_mm or neck(seed)[1], PreprocessConfig()).field


def noisy(values, deviation):
    return values + np.random.default_rng(3).normal(0, deviation, values.shape).astype(np.float32)


def study(number: int, split: Split, **changed) -> PreparedStudy:
    rng = np.random.default_rng(number)
    record = PreparedStudy(
        f"set-{number:016x}",
        "set",
        "",
        f"patient {number}",
        split,
        {Vertebra.C1: True},
        files_sha256=f"files {number}",
        field_sha256=f"pixels {number}",
        fingerprint=rng.bytes(leakage.BITS // 8).hex(),
    )
    return replace(record, **changed)


def apart(first, second) -> int:
    """In how many bits two pictures differ."""
    prints = np.stack([fingerprint(first), fingerprint(second)])
    [(_, _, bits)] = near_duplicates(prints, SPLITS, first.ndim, bits=leakage.BITS)
    return bits


def changed_volumes():
    hu, spacing = neck(1)
    values = hu.astype(np.float32)
    yield field(noisy(values, 30))
    yield field(values * 1.1 + 30)
    yield field(values[::2], (spacing[0] * 2, *spacing[1:]))
    yield field(np.pad(values, ((0, 0), (6, 6), (6, 6)), constant_values=-1000))
    yield field(hu)[:, :, ::-1]


@pytest.mark.parametrize("changed", range(5), ids=["noise", "brightness", "fewer slices", "wider view", "mirrored"])
def test_a_changed_copy_of_a_volume_is_found(changed):
    copy = list(changed_volumes())[changed]
    assert apart(field(neck(1)[0]), copy) <= NEAR_BITS


def test_necks_of_different_patients_are_far_apart():
    prints = np.stack([fingerprint(field(neck(seed)[0], seed=seed)) for seed in (1, 2, 3)])
    pairs = list(near_duplicates(prints, ["train", "validation", "test"], 3, bits=leakage.BITS))
    assert [pair[:2] for pair in pairs] == [(0, 1), (0, 2), (1, 2)]
    assert min(bits for _, _, bits in pairs) > 2 * NEAR_BITS


def picture(seed: int) -> np.ndarray:
    hu = neck(seed)[0]
    return np.clip((hu[len(hu) // 2].astype(np.float32) + 200) / 5, 0, 255).astype(np.uint8)


def changed_images():
    image = picture(1)
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=50)
    yield np.asarray(Image.open(packed))
    yield np.asarray(Image.fromarray(image).resize((224, 224)))
    yield np.clip(image * 1.2 + 10, 0, 255)
    yield ndimage.gaussian_filter(image.astype(np.float32), 1)
    yield image[:, ::-1]


@pytest.mark.parametrize("changed", range(5), ids=["JPEG", "size", "brightness", "blur", "mirrored"])
def test_a_changed_copy_of_an_image_is_found(changed):
    copy = list(changed_images())[changed]
    assert apart(picture(1), copy) <= NEAR_BITS


def test_images_of_different_patients_are_far_apart():
    assert apart(picture(1), picture(2)) > 1.5 * NEAR_BITS


def test_pictures_of_one_split_may_be_the_same_and_empty_ones_do_not_differ_by_rounding():
    same = np.stack([fingerprint(picture(1))] * 2)
    assert list(near_duplicates(same, ["train", "train"], 2)) == []
    assert not fingerprint(np.full((40, 30), 7.3))[0] & np.uint64(0x7F)
    assert np.array_equal(fingerprint(np.full((40, 30), 7.3)), fingerprint(np.full((41, 31), 7.3)))
    assert fingerprint(np.ones((5, 9))).shape == (14,)


@pytest.mark.parametrize("shape", [(8,), (2, 2, 2, 2), (0, 4)])
def test_only_images_and_volumes_have_a_fingerprint(shape):
    with pytest.raises(ValueError, match="image or a volume"):
        fingerprint(np.zeros(shape))


@pytest.mark.parametrize(
    ("shared", "reason"),
    [
        ({"patient": "patient 1"}, "of the same patient"),
        ({"files_sha256": "files 1"}, "made of the same files"),
        ({"field_sha256": "pixels 1"}, "the same pixels"),
        ({"fingerprint": study(1, Split.TRAIN).fingerprint}, "nearly the same volume (0 of 896 bits differ"),
    ],
)
def test_what_two_splits_share_is_a_leak_and_what_one_split_holds_is_none(shared, reason):
    first, second = study(1, Split.TRAIN), study(2, Split.VALIDATION, **shared)
    [leak] = find_leaks([first, second, study(3, Split.TEST)])
    assert (leak.first, leak.second) == (first, second)
    assert reason in leak.why
    assert find_leaks([first, replace(second, split=Split.TRAIN)]) == ()


def test_a_pair_is_named_once_for_its_plainest_reason_and_with_what_to_do():
    copied = replace(study(1, Split.TRAIN), name="set-copy", split=Split.TEST)
    [leak] = find_leaks([study(1, Split.TRAIN), copied])
    said = sentence(leak, {"set-copy": "1.2.3"})
    assert "set-copy (1.2.3) of test are of the same patient" in said
    assert "split.csv" in said


def test_records_without_hashes_are_compared_by_patient_alone():
    bare = {"files_sha256": "", "field_sha256": "", "fingerprint": ""}
    studies = [study(1, Split.TRAIN, **bare), study(2, Split.TEST, **bare)]
    assert find_leaks(studies) == ()
    assert find_leaks([]) == ()


def test_a_prepared_folder_with_leaks_is_refused_with_every_pair(tmp_path):
    prepared.begin(tmp_path, PreprocessConfig(), CropConfig())
    prepared.write_study(tmp_path, study(1, Split.TRAIN))
    prepared.write_study(tmp_path, study(2, Split.TRAIN))
    leakage.check(read_prepared(tmp_path))
    prepared.write_study(tmp_path, study(3, Split.TEST, patient="patient 1"))
    prepared.write_study(tmp_path, study(4, Split.TEST, field_sha256="pixels 2"))
    with pytest.raises(DataSetError) as caught:
        leakage.check(read_prepared(tmp_path))
    assert len(caught.value.problems) == 2
    assert study(3, Split.TEST).name in str(caught.value)
