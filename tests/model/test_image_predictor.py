"""One image in; levels by probability, fracture or not, a map on its pixels and what limits the answer out."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from model.errors import UnusableImage
from model.findings import Vertebra
from model.image_bundle import load_image_bundle
from model.image_config import Approach
from model.image_decoding import Picture
from model.image_findings import ImageFindings, ImageLimitation, LevelProbability
from model.image_overlay import overlay_png
from model.image_predictor import ImagePredictor, overlay_of
from model.image_preprocess import ImageConfig, bone_window, standard_image
from tests.model.image_bundles import write_image_bundle


@pytest.fixture(scope="module", params=list(Approach))
def predictor(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return ImagePredictor(load_image_bundle(write_image_bundle(folder, request.param)))


def neck(shape=(150, 130)):
    rows, columns = np.indices(shape)
    near = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2)
    return (np.where(near < 50, 0.3, 0.0) + np.where(near < 15, 0.5, 0.0)).astype(np.float32)


def test_every_approach_answers_whole(predictor):
    prediction = predictor.predict_image(neck())
    findings = prediction.findings
    assert {one.vertebra for one in findings.levels} == set(Vertebra)
    assert sum(one.probability for one in findings.levels) == pytest.approx(1, abs=1e-5)
    assert findings.level is findings.levels[0].vertebra
    assert findings.fractured == (findings.probability >= 0.5)
    assert prediction.overlay.shape == neck().shape
    assert prediction.overlay.dtype == np.uint8
    assert ImageLimitation.SINGLE_IMAGE in findings.limitations
    assert ImageLimitation.SYNTHETIC in findings.limitations


def test_the_same_image_gets_the_same_answer(predictor):
    first, again = (predictor.predict_image(neck()) for _ in range(2))
    assert first.findings == again.findings
    assert np.array_equal(first.overlay, again.overlay)


def test_a_slice_in_hu_is_the_picture_of_its_bone_window(predictor):
    hu = (neck() * 1800 - 500).astype(np.int16)
    of_hu, of_picture = predictor.predict_slice(hu), predictor.predict_image(bone_window(hu))
    assert of_hu.findings.probability == of_picture.findings.probability
    assert ImageLimitation.NOT_HU in of_picture.findings.limitations
    assert ImageLimitation.NOT_HU not in of_hu.findings.limitations


@pytest.mark.parametrize(
    ("image", "limitation"),
    [
        (Picture(neck(), colored=True), ImageLimitation.COLORED),
        (Picture(neck() * 0.1), ImageLimitation.LOW_CONTRAST),
        (Picture(neck((40, 40))), ImageLimitation.TOO_SMALL),
        (Picture(np.random.default_rng(1).random((90, 90)).astype(np.float32)), ImageLimitation.NOT_CT_LIKE),
    ],
)
def test_what_limits_the_answer_is_said(predictor, image, limitation):
    assert limitation in predictor.predict_image(image).findings.limitations
    assert limitation not in predictor.predict_image(neck()).findings.limitations


def test_levels_without_an_example_are_never_named(tmp_path):
    folder = write_image_bundle(tmp_path, levels=["C2", "C5"])
    findings = ImagePredictor(load_image_bundle(folder)).predict_image(neck()).findings
    assert {one.vertebra for one in findings.levels} == {Vertebra.C2, Vertebra.C5}
    assert sum(one.probability for one in findings.levels) == pytest.approx(1)
    assert ImageLimitation.LEVELS_MISSING in findings.limitations
    none = ImagePredictor(load_image_bundle(write_image_bundle(tmp_path, levels=[], synthetic=False)))
    findings = none.predict_image(neck()).findings
    assert findings.level is None
    assert ImageLimitation.LEVELS_UNKNOWN in findings.limitations
    assert ImageLimitation.SYNTHETIC not in findings.limitations


def test_an_even_image_is_refused(predictor):
    with pytest.raises(UnusableImage, match="background"):
        predictor.predict_image(np.zeros((100, 100), np.float32))


def test_the_map_is_brightest_where_the_evidence_is():
    image = standard_image(neck(), ImageConfig(rows=64, columns=64))
    evidence = np.zeros((32, 32), np.float32)
    evidence[8, 20] = 5.0
    overlay = overlay_of(evidence, image)
    peak = np.argwhere(overlay == overlay.max()).mean(axis=0)
    first, second = image.box
    height, width = first.stop - first.start, second.stop - second.start
    assert peak == pytest.approx([first.start + 8.5 / 32 * height, second.start + 20.5 / 32 * width], abs=2)
    assert not overlay_of(np.ones((32, 32), np.float32), image).any()


def test_the_overlay_is_a_picture_of_the_answer(predictor):
    prediction = predictor.predict_image(neck())
    content = overlay_png(Picture(neck()), prediction)
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert min(image.size) >= 384


def test_findings_hold_probabilities_in_order():
    with pytest.raises(ValueError, match="sorted"):
        ImageFindings((LevelProbability(Vertebra.C1, 0.1), LevelProbability(Vertebra.C2, 0.9)), 0.5, 0.5, ())
    with pytest.raises(ValueError, match="within"):
        ImageFindings((), 1.5, 0.5, ())
    findings = ImageFindings((LevelProbability(Vertebra.C2, 0.9),), 0.75, 0.5, (ImageLimitation.NOT_HU,))
    assert findings.as_json() == {
        "levels": [{"vertebra": "C2", "probability": 0.9}],
        "probability": 0.75,
        "threshold": 0.5,
        "fractured": True,
        "limitations": [{"code": "NOT_HU", "text": ImageLimitation.NOT_HU.value}],
    }


def test_keras_is_not_imported_before_a_predictor_is_made():
    program = "import sys; import model.image_predictor, model.image_overlay; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
