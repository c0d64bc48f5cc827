"""The documents say what the code does: settings, failure codes, commands, links, the words about safety."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from worker.failures import EXPLANATIONS, FailureCode
from worker.settings import as_markdown

README = PROJECT / "README.md"
OPERATIONS = PROJECT / "deploy" / "OPERATIONS.md"
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("[!.]*/**/*.md")])


def between_markers(document: Path, marker: str) -> str:
    """Return what stands between ``<!-- marker -->`` and ``<!-- /marker -->``."""
    found = re.search(rf"<!-- {marker} -->\n(.*?)<!-- /{marker} -->", document.read_text(), re.DOTALL)
    assert found, f"{document.name} lacks the markers of {marker}"
    return found[1].strip()


def failures_as_markdown() -> str:
    rows = [f"| `{code}` | {EXPLANATIONS[code].sentence} | {EXPLANATIONS[code].next_step} |" for code in FailureCode]
    return "\n".join(["| Code | What happened | What to do |", "|---|---|---|", *rows])


def test_the_readme_has_the_settings_of_the_code():
    assert between_markers(README, "settings") == as_markdown().strip()


def test_operations_explains_every_failure_code():
    assert between_markers(OPERATIONS, "failures") == failures_as_markdown()


def codes_in(source: str) -> set[str]:
    """Return the failure codes that a module of ``dicom_node`` gives: ``code=`` arguments and values of such names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        is_argument = isinstance(node, ast.keyword) and node.arg == "code"
        if is_argument or (
            isinstance(node, ast.Assign) and re.search(r"(code|_CODES)\b", ast.unparse(node.targets[0]))
        ):
            constants = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            found |= {text for text in constants if isinstance(text, str) and re.fullmatch(r"[A-Z][A-Z_]{4,}", text)}
    return found


def test_operations_explains_every_code_of_the_dicom_side():
    given = set().union(*(codes_in(path.read_text()) for path in (PROJECT / "dicom_node").glob("*.py")))
    assert {"GANTRY_TILT", "NO_POSITION", "OUT_OF_RESOURCES"} <= given
    explained = set(re.findall(r"^\| `([A-Z_]+)` \|", OPERATIONS.read_text(), re.MULTILINE))
    assert given - explained == set()


def test_the_readme_begins_with_what_it_is_not():
    first_paragraph = README.read_text().split("\n\n")[1]
    assert "Not a medical device" in first_paragraph
    assert "real fracture" in first_paragraph


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_link_to_a_file_leads_somewhere(document: Path):
    targets = re.findall(r"\]\(([^)#\s]+)\)", document.read_text())
    lost = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert lost == []


def test_the_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "check", "bench"} <= targets
    assert set(re.findall(r"\bmake ([a-z]+)\b", README.read_text())) <= targets


def test_the_commands_of_the_documents_exist():
    program = Path(sys.executable).parent / "cspine"
    named = set(re.findall(r"`(?:\.venv/bin/)?cspine ([a-z]+)", README.read_text() + OPERATIONS.read_text()))
    listed = subprocess.run([program, "--help"], check=True, capture_output=True, text=True, timeout=60).stdout
    assert named - set(re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE)) == set()


def test_the_map_of_the_readme_lists_the_packages():
    assert {"`model/`", "`dicom_node/`", "`worker/`", "`training/`"} <= set(README.read_text().split())


@pytest.mark.parametrize("record", sorted((PROJECT / "deploy" / "decisions").glob("*.md")), ids=lambda path: path.name)
def test_a_decision_record_is_short_and_says_its_status(record: Path):
    lines = record.read_text().splitlines()
    assert len(lines) <= 30
    assert any(line.startswith("Status: ") for line in lines)


def rewrite() -> None:
    """Bring the generated tables up to date: ``python -m tests.test_documents``."""
    for document, marker, table in (
        (README, "settings", as_markdown()),
        (OPERATIONS, "failures", failures_as_markdown()),
    ):
        text = document.read_text()
        begin, end = f"<!-- {marker} -->\n", f"<!-- /{marker} -->"
        head, _, rest = text.partition(begin)
        document.write_text(head + begin + table.strip() + "\n" + end + rest.partition(end)[2])


if __name__ == "__main__":
    rewrite()
