"""The image bundle in the package: small, whole, honest about where it comes from, and better than a guess."""

import numpy as np
import pytest

from model.findings import Vertebra
from model.image_bundle import load_image_bundle
from model.image_decoding import decode_image
from model.image_findings import ImageLimitation
from model.image_predictor import ImagePredictor
from training.evaluation.evaluate import TEST_SEED
from training.synthesis.synthetic_images import SyntheticImages, make_case_images


@pytest.fixture(scope="module")
def predictor():
    return ImagePredictor(load_image_bundle())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The images of two cases that no training used, by level."""
    folder = tmp_path_factory.mktemp("images")
    config = SyntheticImages(folder)
    for seed in (TEST_SEED + 1000, TEST_SEED + 1001):
        make_case_images(config, seed)
    files = sorted(path for path in folder.rglob("case*") if ".mask" not in path.name)
    return [(Vertebra[path.parent.name], decode_image(path.read_bytes())) for path in files]


def test_it_is_small_and_says_what_it_is():
    bundle = load_image_bundle()
    assert bundle.name == "cspine-image-synthetic"
    assert sum(path.stat().st_size for path in bundle.path.iterdir()) < 3_000_000
    metadata = bundle.metadata
    assert metadata.synthetic
    assert "Not a medical device" in metadata.intended_use
    assert "synthetic" in metadata.limits
    assert metadata.levels == tuple(Vertebra)


def test_its_measured_figures_are_those_of_synthetic_images_it_was_not_trained_on():
    provenance = load_image_bundle().metadata.provenance
    evaluation, training = provenance["evaluation"], provenance["training"]
    assert evaluation["synthetic"] is True
    assert evaluation["images"] == training["data"]["images"]["test"]
    assert evaluation["levels"]["right"]["low"] > 1 / 7
    assert evaluation["fractures"]["auc"]["low"] > 0.5


def test_it_answers_synthetic_images_of_unseen_seeds(predictor, pictures):
    findings = [predictor.predict_image(picture).findings for _, picture in pictures]
    assert len(findings) >= 6
    assert all(ImageLimitation.SYNTHETIC in one.limitations for one in findings)
    chances = [
        next(one.probability for one in found.levels if one.vertebra is level)
        for (level, _), found in zip(pictures, findings, strict=True)
    ]
    assert np.mean(chances) > 1 / 7


def test_noise_and_a_page_of_text_do_not_look_like_its_images(predictor):
    rng = np.random.default_rng(3)
    noise = rng.random((200, 200)).astype(np.float32)
    page = np.ones((200, 200), np.float32)
    page[20:180:8, 20:180:3] = 0
    for picture in (noise, page):
        assert ImageLimitation.NOT_CT_LIKE in predictor.predict_image(picture).findings.limitations
