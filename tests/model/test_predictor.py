"""The embedded bundle gets all seven levels of the demo study and exactly its fracture right, in seconds."""

import copy
import dataclasses
import resource
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from model.bundle import load_bundle
from model.engine import KerasEngine, Runtime
from model.errors import BundleError, PredictorOutOfMemory, UnusableVolume
from model.findings import Limitation, Vertebra
from model.predictor import Predictor, load_networks
from tests.training.made_once import demo_study

PART = (slice(20, 120), slice(120, 392), slice(140, 372))
"""The demo study from above C1 to within C5."""


@pytest.fixture(scope="module")
def predictor():
    return Predictor(load_bundle())


@pytest.fixture(scope="module")
def demo():
    return demo_study()


@pytest.fixture(scope="module")
def prediction(predictor, demo):
    return predictor.predict(demo.hu, demo.spacing_mm)


def grown(mask, voxels):
    """The box of all that is true, so many voxels larger on every side."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(slice(max(0, side.start - voxels), side.stop + voxels) for side in box)


def test_all_seven_levels_of_the_demo_study_are_right(demo, prediction):
    assert [finding.vertebra for finding in prediction.findings.vertebrae] == list(Vertebra)
    assert prediction.labels.shape == demo.hu.shape
    assert prediction.labels.dtype == np.uint8
    for level in Vertebra:
        truth, found = demo.labels == level, prediction.labels == level
        assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.7


def test_exactly_the_fractured_level_of_the_demo_study_is_reported(demo, prediction):
    assert {finding.vertebra for finding in prediction.findings.fractured} == set(demo.fractured)
    assert prediction.findings.limitations == ()


def test_the_fracture_of_the_demo_study_is_explained_where_it_is(demo, prediction):
    """The mask lies in the fractured level and on the true lesion, the activation map in the level's crop."""
    assert set(np.unique(prediction.lesions)) == {0, *(int(level) for level in demo.fractured)}
    hit, box = np.zeros_like(demo.fracture), grown(demo.fracture, 4)
    hit[box] = ndimage.binary_dilation(demo.fracture[box], iterations=3)
    assert hit[prediction.lesions > 0].mean() > 0.5
    assert prediction.activation.dtype == np.uint8
    assert prediction.activation.max() == 255
    level = min(demo.fractured)
    slices = np.flatnonzero((prediction.labels == level).any(axis=(1, 2)))
    active = np.flatnonzero((prediction.activation > 0).any(axis=(1, 2)))
    assert slices[0] - 3 <= active[0]
    assert active[-1] <= slices[-1] + 3


def test_a_study_of_two_hundred_slices_takes_seconds_and_little_memory(prediction):
    assert set(prediction.seconds) == {"preprocess", "levels", "naming", "fractures", "postprocess"}
    assert sum(prediction.seconds.values()) < 60, "30 s on two quiet cores; tests share theirs"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3_500_000, "KiB, with the phantom's own arrays"


def test_the_same_volume_gives_the_same_answer(predictor, demo, prediction):
    again = predictor.predict(demo.hu.astype(np.float32), demo.spacing_mm)
    assert again.findings == prediction.findings
    for name in ("labels", "lesions", "activation"):
        assert np.array_equal(getattr(again, name), getattr(prediction, name))


def test_a_volume_without_a_neck_has_no_levels_and_says_so(predictor):
    answer = predictor.predict(np.full((40, 64, 64), -1000, dtype=np.int16), (1.0, 1.0, 1.0))
    assert answer.findings.limitations == (Limitation.NO_LEVELS,)
    assert not answer.labels.any()
    assert not answer.lesions.any()


def test_what_is_no_volume_is_refused(predictor):
    with pytest.raises(UnusableVolume):
        predictor.predict(np.zeros((1, 4, 4), dtype=np.int16), (1.0, 1.0, 1.0))


class _Exhausted:
    """An engine on a device whose memory holds only so many slices."""

    def __init__(self, inner, slices):
        self._inner = inner
        self._slices = slices

    def __call__(self, stack):
        if len(stack) > self._slices:
            raise MemoryError
        return self._inner(stack)


def test_half_the_batch_is_tried_when_memory_runs_out_and_then_a_transient_error_is_raised(predictor):
    hu = np.full((40, 64, 64), 40, dtype=np.int16)
    tight = copy.copy(predictor)
    tight._levels = _Exhausted(predictor._levels, 4)
    assert tight.predict(hu, (1.0, 1.0, 1.0)).labels.shape == hu.shape
    tight._levels = _Exhausted(predictor._levels, 0)
    with pytest.raises(PredictorOutOfMemory) as error:
        tight.predict(hu, (1.0, 1.0, 1.0))
    assert not error.value.permanent


@pytest.mark.parametrize("stage", ["levels", "fractures"])
@pytest.mark.parametrize("changes", [{"decoder": (64, 48, 8)}, {"encoder": "absent"}, {"decoder": (64, 48)}])
def test_weights_that_do_not_fit_the_network_are_refused(changes, stage):
    bundle = load_bundle()
    network = dataclasses.replace(getattr(bundle.metadata, stage), **changes)
    other = dataclasses.replace(bundle, metadata=dataclasses.replace(bundle.metadata, **{stage: network}))
    with pytest.raises(BundleError, match="do not fit"):
        load_networks(other)


def test_both_runtimes_give_the_same_answer(predictor, demo):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    keras_only = Predictor(load_bundle(), Runtime.KERAS)
    assert isinstance(keras_only._levels, KerasEngine)
    expected = keras_only.predict(demo.hu[PART], demo.spacing_mm)
    on_openvino = predictor._levels.runtime is Runtime.OPENVINO
    fast = predictor if on_openvino else Predictor(load_bundle(), Runtime.OPENVINO)
    part = fast.predict(demo.hu[PART], demo.spacing_mm)
    assert (expected.labels == part.labels).mean() > 0.9995
    for one, other in zip(expected.findings.vertebrae, part.findings.vertebrae, strict=True):
        assert one.vertebra == other.vertebra
        assert one.probability == pytest.approx(other.probability, abs=0.02)


NECK = Path(__file__).parents[3] / "shared" / "data" / "visible-human-female-neck"
MIDDLES_MM = {
    Vertebra.C1: (250, 231, 1577),
    Vertebra.C2: (250, 238, 1552),
    Vertebra.C3: (250, 240, 1534),
    Vertebra.C4: (250, 243, 1519),
    Vertebra.C5: (250, 247, 1506),
}
"""Middles of the visible levels (LPS), seen by hand: C1's anterior arch, the others' bodies; C5 is cut."""


def test_every_visible_level_of_a_real_neck_that_training_never_saw_is_named_right(predictor):
    if not NECK.is_dir():
        pytest.skip("../shared/data/visible-human-female-neck is not here")
    slices = [pydicom.dcmread(path) for path in NECK.glob("*.dcm")]
    slices.sort(key=lambda one: -float(one.ImagePositionPatient[2]))
    top = float(slices[0].ImagePositionPatient[2])
    hu = np.stack([one.pixel_array + one.RescaleIntercept for one in slices]).astype(np.int16)
    answer = predictor.predict(hu, (1.0, 1.0, 1.0))
    named = {
        level: answer.labels[round(top - z) - 1 : round(top - z) + 2, y - 1 : y + 2, x - 1 : x + 2]
        for level, (x, y, z) in MIDDLES_MM.items()
    }
    assert all((voxels == level).mean() > 0.9 for level, voxels in named.items())
    assert not answer.findings.fractured, "the neck is intact"
    assert Limitation.CUT_LEVEL in answer.findings.limitations
    box = grown(answer.labels > 0, 5)
    far_from_bone = ndimage.distance_transform_edt(hu[box] <= 150)[answer.labels[box] > 0] > 3
    assert far_from_bone.mean() < 0.02
