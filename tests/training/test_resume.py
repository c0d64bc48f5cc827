"""A training that was interrupted goes on as if it had not been, and what goes wrong costs no more than a few steps."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from model.network import build_unet
from model.network_config import compact_config
from tests.conftest import PROJECT
from tests.training.prepared_folders import small_prepared
from tests.training.scripted_batches import bad_batch, plain_batch, steep_batch
from training.__main__ import main
from training.fitting.batches import LevelData
from training.fitting.checkpoint import Checkpoints, RunState, TrainingStopped, changed
from training.fitting.curves import draw_curves, read_metrics
from training.fitting.feed import Batch
from training.fitting.fit_config import FitConfig
from training.fitting.loop import Training, recorded, train


def weights_of(path: Path) -> dict[str, np.ndarray]:
    """Every array of a file of weights, the optimizer's too."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, one: found.update({name: one[()]}) if isinstance(one, h5py.Dataset) else None)
    return found


def written(folder: Path, output: Path, prepared: Path) -> Path:
    """Settings of a tiny training with the paper's recipe: frozen up to step 2, a checkpoint every 2 of 8 steps."""
    path = folder / f"{output.name}.toml"
    path.write_text(
        f'output = "{output}"\nprepared = ["{prepared}"]\nstage = "fractures"\nencoder = "compact"\nrecipe = "paper"\n'
        "steps = 8\nbatch = 2\nslices = 2\ncheckpoint_steps = 2\nfrozen_share = 0.25\nvalidation_batches = 1\n"
    )
    return path


def started(config: Path, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "training", "fit", "--config", str(config), *options]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    )


@pytest.mark.slow
def test_a_run_that_was_killed_and_goes_on_gives_the_weights_of_one_that_was_not(tmp_path):
    prepared = small_prepared(tmp_path / "prepared")
    whole = started(written(tmp_path, tmp_path / "whole", prepared), "--processes", "2")
    config = written(tmp_path, tmp_path / "killed", prepared)
    victim = started(config)
    for line in victim.stderr:
        if "step 4 of 8" in line:
            victim.kill()
            break
    victim.stderr.close()
    assert victim.wait(timeout=60) == -signal.SIGKILL
    killed_at = Checkpoints(tmp_path / "killed").newest().state
    assert 4 <= killed_at.step < 8
    resumed = started(config)
    for run in (whole, resumed):
        said = run.communicate(timeout=200)[1]
        assert run.returncode == 0, said
    assert f"after step {killed_at.step}" in said
    for name in ("latest.weights.h5", "best.weights.h5"):
        one, other = weights_of(tmp_path / "whole" / name), weights_of(tmp_path / "killed" / name)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) for key in one)
    rows = [read_metrics(tmp_path / name) for name in ("whole", "killed")]
    for row in (*rows[0], *rows[1]):
        row.pop("waiting_share")
    assert rows[0] == rows[1]
    record = json.loads((tmp_path / "killed" / "training.json").read_text())
    assert record["loss"] == round(rows[1][-1]["loss"], 4)
    assert record["losses"].keys() == {"mask_loss", "slice_loss", "fracture_loss"}
    assert [row["step"] for row in rows[0]] == [2, 4, 6, 8]
    states = [Checkpoints(tmp_path / name).newest().state for name in ("whole", "killed")]
    assert states[0].best == states[1].best
    assert states[1].seconds > killed_at.seconds
    assert (tmp_path / "killed" / "curves.png").read_bytes().startswith(b"\x89PNG")


class Scripted:
    """A tiny network of one weight; its batches are given."""

    def __init__(self, output: Path, losses_of, **more: object) -> None:
        keras.utils.set_random_seed(1)
        inputs = keras.Input((1,))
        self.network = keras.Model(inputs, {"levels": keras.layers.Dense(1, name="levels")(inputs)})
        self.config = replace(
            FitConfig(output, compact_config(), steps=20, batch=1, checkpoint_steps=2, learning_rate=1e-6),
            **{"processes": 1, **more},
        )
        self.losses_of = losses_of

    def run(self, validation: tuple[Batch, ...] = ()) -> Path:
        def compiled(network, phase):
            network.compile(optimizer="sgd", loss={"levels": "mse"})

        make = partial(partial, self.losses_of)
        given = {"fit": recorded(self.config)}
        return train(Training(self.config, self.network, compiled, lambda _: None, make, validation, {}, given))


def test_a_finished_run_is_left_alone_and_another_one_is_refused(tmp_path):
    weights = Scripted(tmp_path, plain_batch, steps=4, tensorboard=True).run()
    before = weights.stat().st_mtime_ns
    Scripted(tmp_path, plain_batch, steps=4, processes=2).run()
    with pytest.raises(TrainingStopped, match=r"fit.steps was 4, is 6.*another output.*no-resume"):
        Scripted(tmp_path, plain_batch, steps=6).run()
    assert weights.stat().st_mtime_ns == before
    Scripted(tmp_path, plain_batch, steps=2, resume=False).run()
    assert weights.stat().st_mtime_ns != before
    assert [row["step"] for row in read_metrics(tmp_path)] == [2]
    assert list((tmp_path / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(
    ("batches", "told"),
    [(bad_batch, "study-b.*prepare these studies again"), (steep_batch, "study-c.*lower learning_rate")],
)
def test_a_loss_that_is_not_finite_names_step_and_data_and_keeps_the_checkpoint(tmp_path, batches, told):
    with pytest.raises(TrainingStopped, match=rf"step 5: the loss is (nan|inf).*{told}.*step 4"):
        Scripted(tmp_path, batches).run()
    assert Checkpoints(tmp_path).newest().state.step == 4
    assert (tmp_path / "curves.png").is_file()


def test_training_ends_when_validation_gets_no_better_and_the_best_weights_are_kept(tmp_path):
    """The network is trained towards 1 but validated against what it is at first: each step makes it worse."""
    scripted = Scripted(tmp_path, plain_batch, patience=3)
    scripted.config = replace(scripted.config, learning_rate=0.1)
    first = scripted.network(np.ones((1, 1), np.float32))["levels"]
    scripted.run((Batch(np.ones((1, 1), np.float32), {"levels": np.asarray(first)}),))
    state = Checkpoints(tmp_path).newest().state
    assert (state.step, state.best_step, state.without_better) == (8, 2, 3)
    assert state.finished == "no better validation loss since step 2"
    best, latest = (weights_of(tmp_path / f"{name}.weights.h5") for name in ("best", "latest"))
    assert any(not np.array_equal(best[name], latest[name]) for name in best)
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["best"]["step"] == 2
    rows = read_metrics(tmp_path)
    assert [row["validation"]["loss"] for row in rows] == sorted(row["validation"]["loss"] for row in rows)
    assert draw_curves(tmp_path).stat().st_size > 5000


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before_as_it_was(tmp_path):
    checkpoints, network = Checkpoints(tmp_path), build_unet(compact_config())
    checkpoints.save(network, RunState(step=3), best=False)
    before = (tmp_path / "latest.weights.h5").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(TrainingStopped, match=r"step 5 cannot be written.*step 3 is kept"):
            checkpoints.save(network, RunState(step=5), best=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.newest().state.step == 3
    assert (tmp_path / "latest.weights.h5").read_bytes() == before
    assert not (tmp_path / "best.weights.h5").exists()
    checkpoints.save(network, RunState(step=5), best=True)
    assert checkpoints.newest().state.step == 5


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, caplog):
    checkpoints, network = Checkpoints(tmp_path), build_unet(compact_config())
    for step in (1, 2, 3):
        checkpoints.save(network, RunState(step=step), best=False)
    folders = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert folders == ["000000002", "000000003"]
    with (tmp_path / "checkpoints" / "000000003" / "network.weights.h5").open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    assert checkpoints.newest().state.step == 2
    assert "000000003 is damaged" in caplog.text


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    network = build_unet(compact_config())
    Checkpoints(tmp_path).save(network, RunState(step=1), best=False)
    network.set_weights([np.full_like(values, np.nan) for values in network.get_weights()])
    with pytest.raises(TrainingStopped, match="step 2: the weights are not finite"):
        Checkpoints(tmp_path).save(network, RunState(step=2), best=False)
    assert Checkpoints(tmp_path).newest().state.step == 1


def test_settings_that_changed_are_named():
    assert changed({"fit": {"steps": 4, "seed": 1}}, {"fit": {"steps": 6, "seed": 1}}) == ["fit.steps was 4, is 6"]
    assert changed({"a": [1, 2]}, {"a": [1, 2]}) == []


def test_early_stopping_without_anything_to_validate_on_is_refused(tmp_path):
    done = CliRunner().invoke(main, ["fit", "--output", str(tmp_path), "--patience", "3", "--weights", "none"])
    assert done.exit_code == 2
    assert "validation_cases" in done.output


def test_all_settings_are_printed_with_explanations(tmp_path):
    done = CliRunner().invoke(main, ["fit", "--print-config", "--paper", "--seed", "5"])
    assert done.exit_code == 0
    assert 'recipe = "paper"' in done.output
    assert "seed = 5" in done.output
    assert len(re.findall(r"(?m)^# .{15,}", done.output)) >= 30
    (tmp_path / "fit.toml").write_text(done.output)
    again = CliRunner().invoke(main, ["fit", "--print-config", "--config", str(tmp_path / "fit.toml")])
    assert again.output.replace(str(tmp_path / "run"), "run") == done.output
    assert LevelData().synthetic_share == 0
