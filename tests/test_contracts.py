"""The import contracts hold, they notice what they are for, and the rules that imports cannot express are kept."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

PACKAGES = ("worker", "dicom_node", "model", "training")
MODULES = sorted(path for package in PACKAGES for path in (PROJECT / package).rglob("*.py"))


def lint_imports(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Check the contracts of a checkout."""
    program = Path(sys.executable).parent / "lint-imports"
    return subprocess.run([program, "--no-cache"], cwd=folder, check=False, timeout=120, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the packages and the contracts, to spoil."""
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "bundles"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_contracts_hold():
    checked = lint_imports(PROJECT)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("worker/settings.py", "import training", "worker | training -> dicom_node -> model"),
        ("dicom_node/node.py", "import model.preprocess", "only the vocabulary"),
        ("dicom_node/node.py", "import celery", "dicom_node knows no queue"),
        ("model/findings.py", "import pydicom", "model knows no DICOM"),
        ("worker/listener.py", "def lazily():\n    import worker.pipeline", "the listener never reaches"),
        ("worker/console/app.py", "def lazily():\n    import worker.pipeline", "the console never reaches"),
        ("worker/states.py", "import time", "pure modules"),
        ("worker/settings.py", "import worker.app", "layers inside worker"),
        ("worker/unplaced.py", "", "layers inside worker"),
        ("worker/cli.py", "def lazily():\n    import worker.tasks", "reached through the queue"),
    ],
)
def test_a_broken_contract_is_noticed(checkout: Path, module: str, line: str, contract: str):
    with (checkout / module).open("a") as file:
        file.write(f"\n{line}\n")
    checked = lint_imports(checkout)
    assert checked.returncode != 0
    assert any(" BROKEN" in row and contract in row for row in checked.stdout.splitlines()), checked.stdout


def places(matches) -> set[str]:
    """Return the modules in which some syntax node matches, as ``package/module``."""
    found = set()
    for path in MODULES:
        if any(matches(node) for node in ast.walk(ast.parse(path.read_text()))):
            found.add(str(path.relative_to(PROJECT).with_suffix("")))
    return found


def test_a_catch_all_stands_only_at_the_task_boundaries_and_in_the_c_store_handler():
    def catches_all(node: ast.AST) -> bool:
        names = {"Exception", "BaseException"}
        if not isinstance(node, ast.ExceptHandler):
            return False
        return node.type is None or any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node.type))

    assert places(catches_all) <= {"worker/analysis", "worker/image_analysis", "worker/shadow", "dicom_node/scp"}


def test_studies_is_the_only_writer_of_a_studys_state():
    def writes_a_state(node: ast.AST) -> bool:
        if isinstance(node, ast.Assign):
            return any(ast.unparse(target) in {"study.state", "study.generation"} for target in node.targets)
        if not isinstance(node, ast.Call):
            return False
        called = ast.unparse(node.func)
        keywords = {keyword.arg for keyword in node.keywords}
        updates = called.endswith(".values") and "update(Study)" in called
        return called == "Study" or "insert(Study)" in called or (updates and bool(keywords & {"state", "generation"}))

    assert places(writes_a_state) <= {"worker/studies"}


def test_the_environment_is_read_only_by_settings_and_the_entry_modules():
    def reads_the_environment(node: ast.AST) -> bool:
        return isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv"}

    entry_modules = {
        "worker/app",
        "worker/cli",
        "worker/command_line",
        "worker/listener",
        "training/__main__",
        "dicom_node/reading_child",
    }
    engine_switches = {"training/fitting/determinism", "worker/tools"}
    assert places(reads_the_environment) <= {"worker/settings"} | entry_modules | engine_switches


def test_paths_of_the_machine_that_wrote_a_module_are_not_in_it():
    def names_a_home(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith(("/home/", "/root"))
        )

    assert places(names_a_home) == set()
