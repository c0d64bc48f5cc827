"""The demo's PACS holds exactly what it was sent."""

from pathlib import Path

from pydicom import dcmread

from dicom_node.scu import echo, send
from tests.worker.scripted import workplace, write_boxes
from worker.local_pacs import LocalPacs


def test_every_kind_of_result_is_held_byte_by_byte(tmp_path: Path) -> None:
    write_boxes(tmp_path / "boxes")
    with workplace(tmp_path / "data") as place:
        place.receive(tmp_path / "boxes")
        place.analyzer().analyze(*place.complete())
        files = sorted(place.settings.results_dir.rglob("*.dcm"))
    with LocalPacs(tmp_path / "pacs") as pacs:
        echo(pacs.peer, "TEST")
        assert all(outcome.accepted for outcome in send(files, pacs.peer, "TEST"))
        held = pacs.held()
    sent = {str(dataset.SOPInstanceUID): dataset for dataset in map(dcmread, files)}
    assert held.keys() == sent.keys()
    assert all(dcmread(path) == sent[uid] for uid, path in held.items())
