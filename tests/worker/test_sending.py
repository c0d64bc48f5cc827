"""``cspine send``: every DICOM file of a folder goes out, other files are named, refusals come with their status."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import SegmentationStorage

from tests.worker.scripted import ScriptedPacs, workplace, write_boxes
from worker.errors import StartupError
from worker.sending import files_below, send_folder


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    made = ScriptedPacs()
    yield made
    made.stop()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with the four result objects of a study and a file that is no DICOM."""
    write_boxes(tmp_path / "boxes")
    with workplace(tmp_path / "data") as place:
        place.receive(tmp_path / "boxes")
        place.analyzer().analyze(*place.complete())
        folder = place.settings.results_dir
    (folder / "note.txt").write_text("no DICOM")
    return folder


def test_what_is_accepted_refused_and_passed_over_is_told_apart(results: Path, pacs: ScriptedPacs) -> None:
    pacs.statuses[SegmentationStorage] = 0xA900
    sent = send_folder(results, pacs.peer, "SENDER")
    assert sent.accepted == len(pacs.received) == 3
    assert sent.files == 5
    assert len(sent.study_instance_uids) == 1
    assert any(line.startswith("note.txt: not a DICOM file") for line in sent.refusals)
    assert any("0xA900" in line for line in sent.refusals)


def test_a_single_file_can_be_sent(results: Path, pacs: ScriptedPacs) -> None:
    one = next(results.rglob("*.dcm"))
    assert send_folder(one, pacs.peer, "SENDER").accepted == 1


def test_an_empty_folder_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="name a folder"):
        files_below(tmp_path)
