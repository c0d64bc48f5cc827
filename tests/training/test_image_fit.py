"""Image networks are trained for real: they learn, go on when interrupted, freeze, and are exported as they are."""

import json
from dataclasses import replace

import numpy as np
import pytest

from model.image_config import Approach
from model.image_decoding import decode_image
from model.image_network import build_image_network
from model.image_predictor import ImagePredictor, load_image_network
from model.network_config import Encoder
from model.postprocess import probability
from tests.training import image_runs
from tests.training.image_trees import image_tree
from training.config import ConfigError
from training.datasets.studies import DataSetError
from training.fitting.loop import RECORD_FILE
from training.fitting.recipes import Recipe
from training.images.export_images import ExportImagesConfig, answers_of, export_images
from training.images.fit_images import compile_images, fit_images, trained_images
from training.images.image_batches import ImageAugmentation, augmented, coarse, image_source
from training.images.prepare_images import PrepareImagesConfig, prepare_images
from training.images.prepared_images import image_name, read_index
from training.preparation.prepared import Split


def test_training_learns_the_drawn_fractures():
    run = trained_images(image_runs.run())
    prepared = image_runs.prepared()
    answers = answers_of(run.network, prepared, Split.TRAIN)
    truth = np.array([bool(image.fractured) for image in prepared.of(Split.TRAIN)])
    assert answers["fracture"][truth].mean() > answers["fracture"][~truth].mean() + 0.1
    assert run.record["data"]["synthetic"] is True
    assert run.record["image_preprocess"] == "image-1"


def test_a_batch_is_a_function_of_its_step_and_half_fractured():
    folder = image_runs.prepared().folder
    source, again = (image_source(folder, Split.TRAIN, 8, 3, ImageAugmentation()) for _ in range(2))
    source(0)
    first, second = source(5), again(5)
    assert np.array_equal(first.images, second.images)
    assert first.truth["fracture"].sum() == 4
    assert first.images.shape == (8, 32, 32, 1)
    assert np.abs(first.images).max() <= 1
    assert not np.array_equal(first.images, source(6).images)


def test_a_map_of_evidence_is_as_broken_as_the_most_broken_pixel_it_covers():
    masks = np.zeros((2, 8, 8), np.float32)
    masks[0, 3, 5] = 0.7
    masks[1] = -1
    small = coarse(masks, (4, 4))
    assert small[0, 1, 2] == np.float32(0.7)
    assert np.count_nonzero(small[0]) == 1
    assert (small[1] == -1).all()


def test_masks_are_learned_from_where_there_are_any(tmp_path):
    tree = image_tree(tmp_path / "tree", studies=42, masks=True)
    settings = {"rows": 32, "columns": 32, "validation": 0.25, "test": 0.25}
    prepared = prepare_images(PrepareImagesConfig(tree, tmp_path / "prepared", **settings)).prepared
    assert prepared.masked
    batch = image_source(prepared.folder, Split.TRAIN, 8, 1, ImageAugmentation(), (16, 16))(0)
    assert batch.truth["evidence"].shape == (8, 16, 16, 1)
    shown = batch.truth["evidence"].max(axis=(1, 2, 3))
    assert (shown[batch.truth["fracture"].ravel() == 1] > 0.5).all()
    assert (shown[batch.truth["fracture"].ravel() == 0] == 0).all()
    config = image_runs.fit_config(tmp_path / "run", prepared=prepared.folder, steps=2, checkpoint_steps=2)
    fit_images(config)
    assert trained_images(tmp_path / "run").record["mask_shape"] == [16, 16]
    assert "evidence_loss" in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_validation_goes_through_the_split_unchanged():
    prepared = image_runs.prepared()
    images = prepared.of(Split.VALIDATION)
    batch = image_source(prepared.folder, Split.VALIDATION, 4, 3, None)(1)
    assert batch.sources == tuple(image.name for image in images[4:8])
    assert np.array_equal(batch.images[..., 0], prepared.pixels(images[4:8]) / np.float32(127.5) - 1)


def test_augmentation_changes_little_and_can_be_none():
    pixels = image_runs.prepared().pixels(image_runs.prepared().images[:1])[0]
    none = ImageAugmentation(0, 0, 0, 0, 0, 0, flip=False)
    mask = pixels / np.float32(255)
    same, still = augmented(pixels, mask, none, np.random.default_rng(1))
    assert np.array_equal(same, pixels)
    assert np.array_equal(still, mask)
    changed, moved = augmented(pixels, mask, ImageAugmentation(noise=0), np.random.default_rng(1))
    assert not np.array_equal(changed, pixels)
    assert changed.dtype == np.uint8
    assert np.corrcoef(changed.ravel(), moved.ravel())[0, 1] > 0.97
    unknown = np.full_like(mask, -1)
    assert np.array_equal(augmented(pixels, unknown, ImageAugmentation(), np.random.default_rng(1))[1], unknown)


@pytest.mark.slow
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    config = image_runs.fit_config(tmp_path / "once", steps=4, checkpoint_steps=2)
    fit_images(config)
    interrupted = replace(config, output=tmp_path / "twice")
    fit_images(interrupted)
    for newest in sorted((tmp_path / "twice" / "checkpoints").glob("[0-9]*"))[1:]:
        (newest / "state.json").write_text("cut off")
    fit_images(interrupted)
    once, twice = (trained_images(tmp_path / name).network.get_weights() for name in ("once", "twice"))
    assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))


def test_the_papers_recipe_freezes_the_encoder_first(tmp_path):
    config = image_runs.fit_config(tmp_path, recipe=Recipe.PAPER, frozen_share=0.5)
    network_config = config.network(image_runs.prepared().preprocess)
    network, fit = build_image_network(network_config), config.fit(network_config, 0)
    assert [phase.name for phase in fit.phases] == ["frozen encoder", "fine-tuning"]
    batch = image_source(config.prepared, Split.TRAIN, 4, 1, None)(0)
    first = network.get_layer("encoder0a_conv")
    before = first.get_weights()[0].copy()
    compile_images(fit, network, fit.phases[0])
    network.train_on_batch(batch.images, batch.truth)
    assert np.array_equal(before, first.get_weights()[0])
    assert network.optimizer.name.lower() == "sgd"
    compile_images(fit, network, fit.phases[1])
    network.train_on_batch(batch.images, batch.truth)
    assert not np.array_equal(before, first.get_weights()[0])


def test_the_default_is_the_papers_network_and_settings_that_cannot_be_are_refused(tmp_path):
    config = image_runs.fit_config(tmp_path, encoder=Encoder.INCEPTION_RESNET_V2, weights="imagenet")
    network = config.network(image_runs.prepared().preprocess)
    assert (network.encoder, network.weights, network.approach) == (
        Encoder.INCEPTION_RESNET_V2, "imagenet", Approach.ENCODER_DECODER,
    )  # fmt: skip
    assert config.fit(network, 1).phases[0].name == "all weights"
    paper = replace(config, recipe=Recipe.PAPER)
    assert paper.fit(network, 1).phases[0].frozen
    with pytest.raises(ConfigError, match="weights file"):
        replace(config, weights_file=tmp_path / "absent.h5").network(image_runs.prepared().preprocess)


def test_the_bundle_answers_as_the_trainer_did():
    prepared, bundle = image_runs.prepared(), image_runs.bundle()
    trained = answers_of(trained_images(image_runs.run()).network, prepared, Split.TEST)
    served = answers_of(load_image_network(bundle), prepared, Split.TEST)
    for name, values in trained.items():
        assert np.abs(values - served[name]).max() < 5e-3


def test_an_image_file_is_answered_as_its_prepared_copy():
    prepared, bundle, tree = image_runs.prepared(), image_runs.bundle(), image_runs.tree()
    predictor = ImagePredictor(bundle)
    answers = answers_of(load_image_network(bundle), prepared, Split.TEST)
    places = {image.name: place for place, image in enumerate(prepared.of(Split.TEST))}
    found = 0
    for path in tree.rglob("*.*g"):
        place = places.get(image_name("drawn", path.relative_to(tree).as_posix()))
        if place is None:
            continue
        found += 1
        findings = predictor.predict_image(decode_image(path.read_bytes())).findings
        calibration = bundle.metadata.calibration
        expected = probability(float(answers["fracture"][place]), calibration.scale, calibration.offset)
        assert findings.probability == pytest.approx(expected, abs=1e-4)
        assert findings.level == int(answers["levels"][place].argmax()) + 1
    assert found == len(places)


def test_a_bundle_tells_where_it_comes_from():
    bundle = image_runs.bundle()
    metadata = bundle.metadata
    assert metadata.synthetic
    assert "Not a medical device" in metadata.intended_use
    assert metadata.provenance["training"]["data"]["images"]["train"] == len(image_runs.prepared().of(Split.TRAIN))
    assert metadata.operating_points["high sensitivity"] <= metadata.operating_points["balanced"]
    low, high = metadata.seen["mean"]
    means = [image.statistics["mean"] for image in image_runs.prepared().of(Split.TRAIN)]
    assert low <= np.median(means) <= high
    assert str(image_runs.run()) not in json.dumps(metadata.provenance)


def test_a_run_on_other_images_is_not_exported(tmp_path):
    folder = image_runs.prepared().folder
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    document = json.loads((folder / "images.json").read_text())
    document["images"] = document["images"][1:]
    (other / "images.json").write_text(json.dumps(document))
    assert read_index(other).images
    with pytest.raises(DataSetError, match="other images"):
        export_images(ExportImagesConfig(image_runs.run(), other, tmp_path / "bundle"))


def test_a_folder_without_a_run_is_named(tmp_path):
    (tmp_path / RECORD_FILE).write_text("{}")
    with pytest.raises(DataSetError, match="images fit"):
        trained_images(tmp_path)
