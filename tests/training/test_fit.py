"""``python -m training`` trains both networks on phantoms and turns them into a bundle that loads."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from model.bundle import load_bundle
from model.network import build_fracture_network, build_unet
from model.network_config import Encoder, NetworkConfig, compact_config, network_of
from training.__main__ import main
from training.fitting.batches import CropData, Drawing, crop_source
from training.fitting.crop_sampler import CropCase, SampleConfig, write_shard
from training.fitting.dataset import SliceConfig, SliceSampler
from training.fitting.fit import compiled_fractures, compiled_levels, matched
from training.fitting.fit_config import FitConfig, learning_rate
from training.fitting.recipes import Recipe
from training.fitting.start import load_start, transfer_layers


@pytest.fixture
def crops(tmp_path):
    """Two crops, one of them with a dark line that is its fracture."""
    folder = tmp_path / "crops"
    folder.mkdir()
    cases = []
    for kind in ("burst", ""):
        shown = np.full((10, 80, 96), 0.1, dtype=np.float16)
        shown[:, 20:60, 30:66] = 1.5
        mask = np.zeros((10, 40, 48), dtype=np.uint8)
        if kind:
            shown[2:8, 20:60, 46:49] = 0.1
            mask[2:8, 10:30, 22:26] = 255
        mine = np.zeros((10, 80, 96), dtype=np.uint8)
        mine[:, 20:60, 30:66] = 255
        cases.append(CropCase(shown, mine, mask, 5, kind, "test"))
    write_shard(folder / "00001.npz", cases)
    (folder / "crops.json").write_text('{"data": "test", "count": 2}')
    return folder


@pytest.mark.slow
def test_fit_and_export_make_a_bundle_that_loads(tmp_path, crops):
    runner = CliRunner()
    common = ["--encoder", "compact", "--steps", "3", "--batch", "2"]
    pieces = ["--crops", str(crops), "--patch", "48", "--slices", "2", "--least-contrast", "0.2"]
    goes_on = ["--crops", str(crops), "--slices", "3", "--start", str(tmp_path / "pieces" / "latest.weights.h5")]
    for name, more in (("levels", ["--cases", "2"]), ("pieces", pieces), ("fractures", goes_on)):
        stage = "levels" if name == "levels" else "fractures"
        output = ["--stage", stage, "--output", str(tmp_path / name)]
        done = runner.invoke(main, ["fit", *output, *common, *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        record = json.loads((tmp_path / name / "training.json").read_text())
        assert record["step"] == 3
        assert record["stage"] == stage
    assert record["sample"]["patch"] is None
    assert record["continues"]["sample"]["patch"] == 48, "a run tells of the run that it goes on from"
    options = ["--levels", str(tmp_path / "levels"), "--fractures", str(tmp_path / "fractures"), "--crops", str(crops)]
    done = runner.invoke(main, ["export", *options, "--output", str(tmp_path / "bundle"), "--name", "tiny"])
    assert done.exit_code == 0, done.output
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.name == "tiny"
    assert bundle.sha256 in done.output
    assert bundle.metadata.provenance["training"]["levels"]["step"] == 3
    assert bundle.metadata.provenance["calibration"]["levels"] == 2


@pytest.mark.slow
def test_the_papers_recipe_trains_the_inception_resnet_v2_u_net(tmp_path, cases):
    """SGD and binary cross-entropy on one batch of a phantom's slices: the loss falls, encoder and decoder move."""
    keras.utils.set_random_seed(1)
    config = FitConfig(tmp_path, NetworkConfig(), recipe=Recipe.PAPER, learning_rate=0.01, batch=2)
    network = compiled_levels(config)
    assert isinstance(network.optimizer, keras.optimizers.SGD)
    slices = SliceSampler(cases[:1], SliceConfig(), np.random.default_rng(1))
    batch = next(iter(slices.batches(2)))
    images, truth = batch.images[:, 32:96, 32:96], {"levels": batch.levels[:, 32:96, 32:96]}
    first_kernel = network.get_layer("encoder").weights[0].numpy().copy()
    losses = [float(np.ravel(network.train_on_batch(images, truth))[0]) for _ in range(8)]
    assert losses[-1] < min(losses[:4]) < 0.99 * losses[0]
    assert not np.array_equal(first_kernel, network.get_layer("encoder").weights[0].numpy())


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [Encoder.COMPACT, Encoder.CNN])
def test_the_fracture_network_learns_a_plain_line(tmp_path, crops, encoder):
    config = FitConfig(tmp_path / "run", network_of("fractures", encoder), learning_rate=2e-3)
    data = CropData((crops,), sample=SampleConfig(slices=4))
    keras.utils.set_random_seed(1)
    network = compiled_fractures(config, data)
    source = crop_source(matched(data, network), Drawing(4, 1, tmp_path))
    batches = [source(step) for step in range(25)]
    losses = [float(np.ravel(network.train_on_batch(batch.images, batch.truth))[-1]) for batch in batches]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_the_rate_warms_up_and_falls_to_a_fiftieth(tmp_path):
    config = FitConfig(tmp_path, compact_config(), learning_rate=1.0)
    rates = [learning_rate(config, progress) for progress in (0.0, 0.03, 0.5, 1.0)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[1] == pytest.approx(1.0, abs=0.01)
    assert 0.4 < rates[2] < 0.6
    assert rates[3] == pytest.approx(0.02)


def test_the_fracture_network_can_begin_with_the_level_network(tmp_path):
    levels = build_unet(compact_config())
    levels.save_weights(tmp_path / "levels.weights.h5")
    fractures = build_fracture_network(network_of("fractures", Encoder.COMPACT))
    taken = transfer_layers(fractures.slices, build_unet(compact_config()), tmp_path / "levels.weights.h5")
    assert taken > 25
    theirs, ours = (network.get_layer("encoder0a_conv").get_weights()[0] for network in (levels, fractures.slices))
    assert np.array_equal(ours[:, :, :3], theirs)
    assert not ours[:, :, 3].any()
    deep = [network.get_layer("decoder1b_conv").get_weights()[0] for network in (levels, fractures.slices)]
    assert np.array_equal(*deep)


def test_a_bundles_arrays_start_a_network_and_others_are_refused(tmp_path):
    network = build_unet(compact_config())
    arrays = network.get_weights()
    named = {
        f"{place:05d}": values for place, values in enumerate([*arrays[:-2], np.zeros((1, 1, 16, 1)), *arrays[-2:]])
    }
    np.savez(tmp_path / "more.npz", **named)
    other = build_unet(compact_config())
    load_start(other, tmp_path / "more.npz")
    assert all(np.array_equal(*pair) for pair in zip(network.get_weights(), other.get_weights(), strict=True))
    np.savez(tmp_path / "less.npz", **dict(list(named.items())[:5]))
    with pytest.raises(ValueError, match="does not hold"):
        load_start(other, tmp_path / "less.npz")


def test_the_default_of_fit_is_inception_resnet_v2(tmp_path):
    assert replace(NetworkConfig(), weights=None) == network_of("levels", Encoder.INCEPTION_RESNET_V2)
    done = CliRunner().invoke(main, ["fit", "--help"])
    assert done.exit_code == 0
    assert "inception_resnet_v2" in done.output
    done = CliRunner().invoke(main, ["fit", "--stage", "fractures", "--output", str(tmp_path)])
    assert done.exit_code != 0
    assert "training crops" in done.output


def test_a_missing_local_weights_file_is_named(tmp_path):
    done = CliRunner().invoke(main, ["fit", "--output", str(tmp_path), "--weights", str(tmp_path / "absent.h5")])
    assert done.exit_code != 0
    assert "absent.h5" in done.output
