"""The paper's cleaning steps: each does what its name says, and together they are what serving does."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from model.crops import CropConfig, level_crops
from model.errors import UnusableVolume
from model.findings import Limitation, Vertebra
from model.preprocess import PreprocessConfig, find_neck, normalize, prepare, resample, restore_labels
from model.quality import limitations_of
from training.datasets.studies import LabeledVolume
from training.fitting.crop_sampler import crop_images, read_shard, write_shard
from training.preparation.cleaning import STEPS, clean, field_labels, standard_format
from training.preparation.study_crops import UNSPECIFIED, study_crops
from training.synthesis.augment import Contrast
from training.synthesis.fractures import FractureKind
from training.synthesis.phantom import Phantom, PhantomConfig, make_phantom

CONFIG = PreprocessConfig()


@cache
def broken_neck() -> Phantom:
    """A neck with a burst C5 in a matrix wider than itself."""
    kinds = {Vertebra.C5: FractureKind.BURST}
    made = make_phantom(
        5, PhantomConfig(kinds=kinds, spacing_mm=(1.5, 1.2, 1.2), matrix=(180, 170), contrast=Contrast())
    )
    for array in (made.hu, made.labels, made.fracture):
        array.setflags(write=False)
    return made


def volume(**changed) -> LabeledVolume:
    neck = broken_neck()
    labels = np.where(neck.labels <= 7, neck.labels, 0).astype(np.uint8)
    return replace(LabeledVolume(neck.hu, neck.spacing_mm, labels, neck.fracture), **changed)


def test_the_steps_are_the_papers_and_together_what_serving_does():
    assert [step.name for step in STEPS] == ["standard format", "artifact removal", "resizing", "normalization"]
    source = volume()
    formatted = standard_format(source)
    box = find_neck(formatted.hu, formatted.spacing_mm, CONFIG)
    resized = resample(formatted.hu[box].astype(np.float32), formatted.spacing_mm, CONFIG.spacing_mm)
    by_hand = normalize(resized, CONFIG)
    served = prepare(source.hu, source.spacing_mm, CONFIG)
    assert clean(source, CONFIG).prepared.field.tobytes() == by_hand.tobytes() == served.field.tobytes()
    assert {find_neck, resample, normalize, limitations_of} <= {one for step in STEPS for one in step.functions}


def test_what_lies_beside_the_neck_is_cut_away_and_metal_is_dimmed_and_named():
    hu = volume().hu.copy()
    w, v, u = (int(at) for at in np.argwhere(volume().labels == 4).mean(axis=0))
    hu[w - 6 : w + 6, v - 6 : v + 6, u - 6 : u + 6] = 3000
    cleaned = clean(volume(hu=hu), CONFIG)
    rows, columns = cleaned.prepared.box[1:]
    assert rows.stop - rows.start < hu.shape[1]
    assert (columns.stop - columns.start) * volume().spacing_mm[2] <= 2 * CONFIG.band_mm + 2
    assert cleaned.prepared.field.max() == pytest.approx(CONFIG.high_hu / 400)
    assert Limitation.METAL in cleaned.limitations
    assert Limitation.METAL not in clean(volume(), CONFIG).limitations


def test_limitations_of_reading_come_first_and_once():
    cleaned = clean(volume(limitations=(Limitation.GANTRY_TILT, Limitation.GANTRY_TILT)), CONFIG)
    assert cleaned.limitations[:1] == (Limitation.GANTRY_TILT,)
    assert len(set(cleaned.limitations)) == len(cleaned.limitations)


def test_another_memory_layout_is_brought_into_the_standard_format():
    source = volume()
    turned = volume(hu=np.asfortranarray(source.hu.astype(np.int32)), labels=np.asfortranarray(source.labels))
    formatted = standard_format(turned)
    assert formatted.hu.dtype == np.int16
    assert formatted.hu.flags.c_contiguous
    assert formatted.hu.tobytes() == source.hu.tobytes()
    assert formatted.labels.tobytes() == source.labels.tobytes()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"labels": np.zeros((2, 3, 4), np.uint8)}, "levels have the shape (2, 3, 4)"),
        ({"lesion": np.zeros((2, 3, 4), bool)}, "fracture mask have the shape"),
        ({"hu": broken_neck().hu.astype(np.float32)}, "float32"),
        ({"labels": np.full(broken_neck().hu.shape, 8, np.uint8)}, "the number 8"),
        ({"spacing_mm": (0.0, 1.0, 1.0)}, "voxel spacing"),
    ],
)
def test_what_is_no_volume_with_its_truth_is_refused(changed, named):
    with pytest.raises(UnusableVolume) as caught:
        clean(volume(**changed), CONFIG)
    assert named in str(caught.value)


def test_levels_on_the_field_lie_on_their_bone_and_come_home():
    source = volume()
    prepared = prepare(source.hu, source.spacing_mm, CONFIG)
    labels = field_labels(source.labels, prepared)
    assert labels.shape == prepared.field.shape
    assert np.unique(labels).tolist() == list(range(8))
    home = restore_labels(labels, prepared)
    for level in Vertebra:
        ours, theirs = home == level, source.labels == level
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.85
    assert prepared.field[labels > 0].mean() > prepared.field[labels == 0].mean() + 0.5


def test_levels_beyond_the_prepared_part_are_left_out():
    source = volume()
    prepared = prepare(source.hu, source.spacing_mm, CONFIG)
    aside = np.zeros_like(source.labels)
    aside[:20, :20, :4] = 3
    assert not field_labels(aside, prepared).any()


def test_crops_of_known_levels_are_those_of_serving_and_say_what_is_marked(tmp_path):
    source = volume()
    fractures = {level: level in {Vertebra.C2, Vertebra.C5} for level in Vertebra if level is not Vertebra.C7}
    lesion = source.lesion & (source.labels == Vertebra.C5)
    lesion[source.labels == Vertebra.C3] = True
    marked = volume(lesion=lesion)
    cases = study_crops(marked, marked.labels, fractures, {Vertebra.C5: "burst"}, ("set", CropConfig()))
    write_shard(tmp_path / "crops.npz", cases)
    read = read_shard(tmp_path / "crops.npz")
    served = level_crops(source.hu, source.labels, source.spacing_mm, CropConfig())
    assert [crop_images(case).tobytes() for case in read] == [crop.images.tobytes() for crop in served[:6]]
    assert [case.kind for case in read] == ["", UNSPECIFIED, "", "", "burst", ""]
    assert [case.masked for case in read] == [True, False, True, True, bool(lesion[source.labels == 5].any()), True]
    assert [bool(case.mask.any()) for case in read] == [False] * 4 + [True, False]
