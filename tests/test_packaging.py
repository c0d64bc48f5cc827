"""What is installed is what is here: the wheel, the names of its packages, the locks, the light processes."""

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import PROJECT
from tests.processes import DEBIAN_PACKAGES
from worker import queues

PACKAGES = ("worker", "dicom_node", "model", "training")
LOCKS = (PROJECT / "requirements.lock", PROJECT / "deploy" / "requirements-gpu.lock")


def run(*command: object, folder: Path, **environment: str) -> str:
    """Run a command and return its standard output; the test fails with what it wrote when it does not succeed."""
    line = [str(word) for word in command]
    env = {**os.environ, **environment}
    done = subprocess.run(line, cwd=folder, env=env, check=False, timeout=250, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=PROJECT)
    [built] = folder.glob("cspine-*.whl")
    return built


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and the dependencies that are installed here; without this checkout."""
    environment = tmp_path_factory.mktemp("installation") / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, folder=PROJECT)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, folder=PROJECT)
    [site_packages] = environment.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not any("__pycache__" in name for name in names)


def test_the_wheel_holds_every_tracked_file_of_the_packages(wheel: Path):
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=PROJECT, check=True, capture_output=True, text=True)
    assert set(tracked.stdout.split()) <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_model_bundle_and_the_migrations(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(re.fullmatch(r"model/bundles/[^/]+/metadata\.json", name) for name in names)
    assert any(re.fullmatch(r"worker/migrations/versions/.+\.py", name) for name in names)


def test_the_command_runs_from_the_wheel_outside_the_checkout(installation: Path, tmp_path: Path):
    assert "not a medical device" in run(installation / "bin" / "cspine", "--help", folder=tmp_path).lower()
    where = run(installation / "bin" / "python", "-c", "import worker; print(worker.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(installation)


def test_no_other_distribution_owns_our_package_names(installation: Path, tmp_path: Path):
    script = "import importlib.metadata, json; print(json.dumps(importlib.metadata.packages_distributions()))"
    owners = json.loads(run(installation / "bin" / "python", "-c", script, folder=tmp_path))
    assert {package: set(owners[package]) for package in PACKAGES} == {package: {"cspine"} for package in PACKAGES}
    here = importlib.metadata.packages_distributions()
    assert all(set(here.get(package, [])) <= {"cspine"} for package in PACKAGES)


def test_no_init_file_turns_a_test_folder_into_a_package():
    assert list((PROJECT / "tests").rglob("__init__.py")) == []


def test_no_module_is_named_like_one_of_the_standard_library():
    stems = {path.stem for package in PACKAGES for path in (PROJECT / package).rglob("*.py")} | set(PACKAGES)
    assert stems & set(sys.stdlib_module_names) == set()


@pytest.mark.parametrize("module", ["worker.cli", "worker.listener", "worker.app", "worker.console.server"])
def test_a_light_process_does_not_load_the_network_engine(module: str, tmp_path: Path):
    script = f"import sys, {module}; print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    assert run(sys.executable, "-c", script, folder=tmp_path, CSPINE_DATA_DIR=str(tmp_path)).strip() == "[]"


def test_celery_is_started_with_the_applications_full_name(tmp_path: Path):
    report = run(
        *(sys.executable, "-m", "celery", "-A", "worker.app:app", "report"),
        folder=tmp_path,
        CSPINE_DATA_DIR=str(tmp_path),
    )
    assert "software ->" in report
    documents = [path for pattern in ("worker/*.py", "*.md", "deploy/**/*") for path in PROJECT.glob(pattern)]
    for path in documents:
        if path.is_file() and path.suffix in {".py", ".md", ".service", ".yaml"}:
            named = re.findall(r'"?-A"?,? "?(worker[\w.:]*)', path.read_text())
            assert set(named) <= {"worker.app:app"}, path


def test_every_task_has_an_explicit_name_that_the_queues_module_tells(tmp_path: Path):
    script = "import worker.tasks, json; from worker.app import app; print(json.dumps(list(app.tasks)))"
    names = json.loads(run(sys.executable, "-c", script, folder=tmp_path, CSPINE_DATA_DIR=str(tmp_path)))
    told = {value for value in vars(queues).values() if str(value).startswith("worker.tasks.")}
    assert {name for name in names if not name.startswith("celery.")} == told
    decorators = re.findall(r"@app\.task\(([^)]*)", (PROJECT / "worker" / "tasks.py").read_text())
    assert decorators
    assert all("name=" in decorator for decorator in decorators)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_host_and_hashes_everything(lock: Path):
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(--?(extra-)?index|--?find-links|-i |-f )", text, re.MULTILINE)
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert all("==" in requirement and "--hash=sha256:" in requirement for requirement in requirements)


def test_the_lock_holds_every_dependency_that_the_project_names():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    named = list(project["project"]["dependencies"]) + list(project["dependency-groups"]["dev"])
    for extra in ("cpu", "embedded", "postgresql", "train"):
        named += project["project"]["optional-dependencies"][extra]
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in named}
    locked = set(re.findall(r"^([a-z0-9-]+)==", LOCKS[0].read_text(), re.MULTILINE))
    assert names - locked == set()


def test_every_dependency_has_its_line_in_the_decision_record():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    record = "".join(path.read_text() for path in (PROJECT / "deploy" / "decisions").glob("*dependencies.md"))
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in named}
    assert {name for name in names if not re.search(rf"\b{name}\b", record)} == set()


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    """The set-up script as a module."""
    specification = importlib.util.spec_from_file_location("bootstrap", PROJECT / "deploy" / "bootstrap.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_make_test_installs_every_peer_that_a_test_may_require(bootstrap: ModuleType):
    wanted = {package for packages in DEBIAN_PACKAGES.values() for package in packages.split()}
    assert wanted <= set(bootstrap.PEERS)


def fake_python(path: Path, minor: int) -> str:
    """Write a program that answers like a Python 3 of some minor version."""
    path.write_text(f"#!/bin/sh\necho 3 {minor}\n")
    path.chmod(0o755)
    return str(path)


def test_a_package_that_the_distribution_lacks_does_not_stop_the_others(bootstrap: ModuleType, tmp_path: Path):
    policy = tmp_path / "apt-cache"
    policy.write_text('#!/bin/sh\ntest "$2" = npm && echo "npm:" && echo "  Candidate: 9.2.0"\n')
    policy.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert bootstrap.has_candidate("npm")
        assert not bootstrap.has_candidate("chromium-headless-shell")


def test_the_set_up_says_which_python_it_needs(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bootstrap.sys, "executable", fake_python(tmp_path / "python3", 9))
    with pytest.raises(bootstrap.SetUpError, match=r"Python 3\.11, 3\.12 or 3\.13 .*is 3\.9"):
        bootstrap.choose_python()


def test_the_set_up_passes_over_an_old_python(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    fake_python(tmp_path / "python3.12", 12)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bootstrap.sys, "executable", fake_python(tmp_path / "python3", 9))
    assert bootstrap.choose_python() == "python3.12"


def test_the_set_up_starts_anew_when_the_lock_changes(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(bootstrap, "PROJECT", tmp_path)
    before = bootstrap.identity()
    (tmp_path / "requirements.lock").write_text("new")
    assert bootstrap.identity() != before
