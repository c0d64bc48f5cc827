"""``cspine model``: what an operator sees and does, with real bundles that really answer a probe."""

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from model.bundle import EMBEDDED_BUNDLE, load_bundle
from tests.worker.bundles import describe, section, write_bundle
from tests.worker.scripted import workplace
from worker.checks import check_models
from worker.cli import main
from worker.serving_bundle import bundle_called, choices
from worker.settings import Settings


@dataclasses.dataclass
class Site:
    """A data folder and ``cspine`` on it."""

    data: Path

    def model(self, *arguments: object, **variables: object) -> Result:
        environment = {f"CSPINE_{name}": str(value) for name, value in variables.items()}
        words = ["model", *map(str, arguments)]
        own = {"CSPINE_DATA_DIR": str(self.data)} | environment
        return CliRunner().invoke(main, words, env=own, catch_exceptions=False)

    def installed(self, folder: Path) -> str:
        done = self.model("install", folder)
        assert done.exit_code == 0, done.output
        return load_bundle(folder).sha256

    def roles(self) -> dict[str, str]:
        lines = json.loads(self.model("list", "--json").output)
        return {line["version"]: line["role"] for line in lines}

    def serving(self) -> str | None:
        with workplace(self.data) as place:
            return choices(place.database).serving.sha256


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def spoiled(folder: Path, value: float) -> Path:
    """A whole bundle whose levels network has one value in all its weights."""
    write_bundle(folder, "spoiled")
    with np.load(EMBEDDED_BUNDLE / "levels.npz") as arrays:
        weights = {name: np.full_like(arrays[name], value) for name in arrays.files}
    content = io.BytesIO()
    np.savez_compressed(content, **weights)
    (folder / "levels.npz").write_bytes(content.getvalue())
    describe(folder, files=section("files") | {"levels.npz": hashlib.sha256(content.getvalue()).hexdigest()})
    return folder


def test_before_the_first_start_the_built_in_model_serves(site: Site) -> None:
    assert site.roles() == {load_bundle().version: "serving"}
    assert not site.data.exists()
    assert site.model("verify", "built-in").exit_code == 0
    assert "Not a medical device" in json.loads(site.model("show", "built-in").output)["intended_use"]
    nowhere = site.model("rollback")
    assert nowhere.exit_code == 1
    assert "nothing to roll back to" in nowhere.output


@pytest.mark.slow
def test_install_promote_roll_back_and_remove_are_one_command_each(site: Site, tmp_path: Path) -> None:
    second = site.installed(write_bundle(tmp_path / "second"))
    assert site.roles() == {load_bundle().version: "serving", "second": ""}
    done = site.model("promote", second[:8], "--reason", "better on C7")
    assert done.exit_code == 0, done.output
    assert "serves from the next study on" in done.output
    assert site.roles() == {load_bundle().version: "previous", "second": "serving"}
    assert site.serving() == second
    settings = Settings(data_dir=site.data)
    assert bundle_called(settings, None).sha256 == second
    assert bundle_called(settings, "built-in").sha256 == load_bundle().sha256
    kept = site.model("remove", second[:8])
    assert kept.exit_code == 1
    assert "it is kept" in kept.output
    (check,) = check_models(settings)
    assert check.passed
    assert second[:12] in check.finding
    assert site.model("rollback", "--reason", "worse on C1").exit_code == 0
    assert site.serving() is None
    looking_on = site.model("shadow", second[:8])
    assert looking_on.exit_code == 0, looking_on.output
    assert site.roles() == {load_bundle().version: "serving", "second": "shadow"}
    (settings.models_dir / second / "levels.npz").unlink()
    serving, shadow = check_models(settings)
    assert serving.passed
    assert not shadow.passed
    assert "cspine model shadow --off" in shadow.as_line()
    assert "0 of 0" in site.model("report").output
    assert site.model("shadow", "--off").exit_code == 0
    assert site.model("remove", second[:8]).exit_code == 0
    lines = site.model("history").output.splitlines()
    kinds = [line.split()[2] for line in reversed(lines)]
    assert kinds == ["INSTALLED", "PROMOTED", "ROLLED_BACK", "SHADOW_STARTED", "SHADOW_ENDED", "REMOVED"]
    assert "better on C7" in lines[-2]
    assert "worse on C1" in lines[-3]
    assert "built-in" in lines[-3]


@pytest.mark.slow
def test_a_model_that_answers_with_no_number_is_refused_before_anything_changes(site: Site, tmp_path: Path) -> None:
    sha256 = site.installed(spoiled(tmp_path / "spoiled", float("nan")))
    for command in ("promote", "shadow"):
        refused = site.model(command, sha256[:8])
        assert refused.exit_code == 1
        assert "a probe" in refused.output
    assert site.serving() is None
    assert "shadow" not in site.roles().values()


def test_a_damaged_or_unknown_model_is_refused_with_the_next_step(site: Site, tmp_path: Path) -> None:
    sha256 = site.installed(write_bundle(tmp_path / "second"))
    (site.data / "models" / sha256 / "fractures.npz").write_bytes(b"torn")
    for command in ("promote", "shadow", "verify"):
        refused = site.model(command, sha256[:8])
        assert refused.exit_code == 1
        assert "fractures.npz was changed" in refused.output
    assert "cspine model list" in site.model("promote", "abcdef").output
    assert "first 6 digits" in site.model("promote", "zz").output
    assert "or end it with --off" in site.model("shadow").output
    assert "no model is the shadow" in site.model("shadow", "--off").output
    assert "there is no shadow" in site.model("report").output
    assert site.serving() is None


def test_a_path_in_the_settings_wins_and_promote_says_so(site: Site, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "second")
    sha256 = site.installed(folder)
    for command in (("promote", sha256[:8]), ("rollback",)):
        refused = site.model(*command, BUNDLE_PATH=folder)
        assert refused.exit_code == 1
        assert "CSPINE_BUNDLE_PATH is set and wins" in refused.output
    assert "from CSPINE_BUNDLE_PATH" in site.model("list", BUNDLE_PATH=folder).output


def test_a_site_with_keys_takes_only_what_it_signed(site: Site, tmp_path: Path) -> None:
    key, folder = tmp_path / "site.key", write_bundle(tmp_path / "second")
    assert site.model("keygen", key).exit_code == 0
    trusting = {"MODEL_PUBLIC_KEYS_FILE": f"{key}.pub"}
    refused = site.model("install", folder, **trusting)
    assert refused.exit_code == 1
    assert "cspine model sign" in refused.output
    assert site.model("sign", folder, "--key", key).exit_code == 0
    assert site.model("install", folder, **trusting).exit_code == 0
    assert "signed" in site.model("list", **trusting).output
    assert site.model("verify", "built-in", **trusting).exit_code == 0
    unsigned = write_bundle(tmp_path / "third", "third")
    assert "no metadata.json.sig" in site.model("list", BUNDLE_PATH=unsigned, **trusting).output
    assert "public keys" in site.model("list", MODEL_PUBLIC_KEYS_FILE=tmp_path / "absent").output


def test_a_database_that_does_not_answer_is_named_and_nothing_is_guessed(site: Site) -> None:
    site.data.mkdir()
    (site.data / "cspine.sqlite3").write_bytes(b"not a database" * 100)
    for command in (("list",), ("verify", "built-in"), ("history",)):
        done = site.model(*command)
        assert done.exit_code == (0 if command[0] == "verify" else 1)
        if done.exit_code:
            assert "database does not answer" in done.output
    (check,) = check_models(Settings(data_dir=site.data))
    assert not check.passed
