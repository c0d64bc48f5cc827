"""A CT study that Orthanc pushes comes back to Orthanc as SEG and SR, once, with real Redis and real databases."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from highdicom.seg import segread
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage
from sqlalchemy import select

from dicom_node import codes
from dicom_node.node import Peer
from model.findings import Vertebra
from tests.dicom_node import edits
from tests.peers import (
    AutoPush,
    Orthanc,
    OrthancOptions,
    PostgreSQL,
    RedisServer,
    dciodvfy,
    dcmqi_program,
    orthanc,
    storescu,
)
from tests.system.conftest import study_uid
from tests.system.product import Product, running_product
from worker.records import NoteKind, Run, StudyEvent
from worker.states import StudyState

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(600)]

RESULT_MODALITIES = ["CT", "OT", "SEG", "SR", "SR"]


@pytest.fixture
def pushing_pacs(tmp_path: Path) -> Iterator[Orthanc]:
    with orthanc(tmp_path / "orthanc", OrthancOptions(auto_push=AutoPush.CT_SERIES)) as pacs:
        yield pacs


def analyses(product: Product, uid: str) -> tuple[int, int]:
    """How many runs a study has, and how often it was claimed for its analysis."""
    with product.database.reading() as session:
        runs = len(session.scalars(select(Run)).all())
        claims = session.scalars(select(StudyEvent).where(StudyEvent.new_state == StudyState.ANALYZING)).all()
    return runs, len(claims)


def check_objects(pacs: Orthanc, uid: str, folder: Path) -> None:
    """Every result in the PACS passes dciodvfy, and dcmqi's independent readers read SEG and SR."""
    folder.mkdir()
    for modality in ("SEG", "SR", "OT"):
        for path in pacs.download_study(uid, folder, modality):
            assert dciodvfy(path).errors == (), path
    segmentation = pacs.download_study(uid, folder, "SEG")[0]
    command = [
        str(dcmqi_program("segimage2itkimage")),
        "--inputDICOM",
        str(segmentation),
        "--outputDirectory",
        str(folder),
    ]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    assert len(list(folder.glob("*.nrrd"))) == 7
    reports = pacs.download_study(uid, folder, "SR")
    read = [
        subprocess.run(
            [
                str(dcmqi_program("tid1500reader")),
                "--inputDICOM",
                str(path),
                "--outputMetadata",
                str(folder / "sr.json"),
            ],
            check=False,
            timeout=120,
            capture_output=True,
        ).returncode
        for path in reports
    ]
    assert 0 in read


def test_orthanc_pushes_a_ct_series_and_holds_seg_and_sr_after_one_analysis(
    tmp_path: Path, pushing_pacs: Orthanc, redis_peer: RedisServer, make_neck: Callable[[int], Path]
) -> None:
    folder = make_neck(1)
    uid = study_uid(folder)
    with running_product(tmp_path / "data", pushing_pacs.peer, BROKER_URL=redis_peer.url) as product:
        pushing_pacs.connect(product.settings.port)
        pushing_pacs.upload_all(sorted(folder.iterdir()))
        view = product.wait_for_delivery(uid)
        pushing_pacs.wait_for_modalities(uid, RESULT_MODALITIES)
        assert view.line.calling_ae_title == "ORTHANC"
        assert view.line.instances == len(list(folder.iterdir()))
        # The results made the study change in the PACS, which looks again at what to push once it is stable.
        product.wait(uid, lambda _: len(stable_series(pushing_pacs)) >= 5, "5 stable series in the PACS", 60)
        assert product.wait_for_delivery(uid).line.generation == 1
        assert analyses(product, uid) == (1, 1)
        status = product.cli("study", uid)
        assert status.returncode == 0, status.stderr
        assert "DELIVERED" in status.stdout
        assert "accepted 4 objects" in status.stdout
        doctor = product.cli("doctor")
        assert doctor.returncode == 0, doctor.stdout
    check_objects(pushing_pacs, uid, tmp_path / "objects")
    log = product.log.read_text()
    assert "association" in log
    assert [canary for canary in ("elik", "Zo\u00eb", "CSPINE-PHANTOM", "19700101") if canary in log] == []
    labels = segread(pushing_pacs.download_study(uid, tmp_path / "objects", "SEG")[0])
    assert labels.number_of_segments == 7
    assert np.prod(labels.pixel_array.shape) > 0


def stable_series(pacs: Orthanc) -> list[object]:
    """The series that Orthanc has called stable so far."""
    return [change for change in pacs.changes() if change["ChangeType"] == "StableSeries"]


def test_the_same_with_postgresql_storescu_and_a_pacs_that_pushes_the_results_back(
    tmp_path: Path, postgresql_peer: PostgreSQL, redis_peer: RedisServer, make_neck: Callable[[int], Path]
) -> None:
    folder = make_neck(2)
    uid = study_uid(folder)
    url = postgresql_peer.create_database("round_trip")
    with (
        orthanc(tmp_path / "orthanc", OrthancOptions(auto_push=AutoPush.WHOLE_STUDY)) as pacs,
        running_product(tmp_path / "data", pacs.peer, BROKER_URL=redis_peer.url, DATABASE_URL=url) as product,
    ):
        pacs.connect(product.settings.port)
        sent = storescu(sorted(folder.iterdir()), str(product.peer))
        assert sent.returncode == 0, sent.stdout[-2000:]
        pacs.upload_all(sorted(folder.iterdir()))
        product.wait_for_delivery(uid)
        pacs.wait_for_modalities(uid, RESULT_MODALITIES)
        product.wait(uid, lambda _: pushes_ended(pacs), "Orthanc's pushes of the whole study", 120)
        assert product.wait_for_delivery(uid).line.generation == 1
        assert analyses(product, uid) == (1, 1)
        assert pacs.modalities(uid) == RESULT_MODALITIES
        assert {job["State"] for job in pacs.jobs() if job["Type"] == "DicomModalityStore"} == {"Success"}
        check_review(product, pacs, uid, tmp_path)
        assert product.wait_for_delivery(uid).line.generation == 1
        assert analyses(product, uid) == (1, 1)
        assert Peer.parse(pacs.peer) == product.settings.destination


def check_review(product: Product, pacs: Orthanc, uid: str, folder: Path) -> None:
    """A radiologist contradicts us on C4 and verifies; the PACS pushes the study again, and the review comes home."""
    reports = (dcmread(path) for path in pacs.download_study(uid, folder, "SR"))
    ours = next(report for report in reports if report.SOPClassUID == Comprehensive3DSRStorage)
    review = edits.edited(ours, verified=True)
    group = edits.group_of(review, Vertebra.C4)
    suspected = any(edits.named(item, codes.FRACTURE) for item in group.ContentSequence)
    edits.change(group, codes.FRACTURE, codes.ABSENT)  # where we suspected a fracture, and else
    edits.change(group, codes.FINDING, codes.FRACTURE)
    pacs.upload(edits.written(review, folder / "review.dcm"))
    view = product.wait(uid, lambda view: view.events[-1].kind == NoteKind.REVIEW, "the review", 120)
    assert "(verified)" in view.events[-1].detail
    assert "rejected" in view.events[-1].detail
    exported = product.cli("reviews", "export", str(folder / "labels"))
    assert exported.stdout.startswith("1 studies with 1 reviews"), exported.stderr
    [labels] = (folder / "labels").glob("study-*/labels.json")
    levels = {item["level"]: item["fracture"] for item in json.loads(labels.read_text())["levels"]}
    assert levels["C4"] == ("ABSENT" if suspected else "PRESENT")


def pushes_ended(pacs: Orthanc) -> bool:
    """Whether Orthanc pushed the study again after the results came, and is done with it."""
    jobs = [job for job in pacs.jobs() if job["Type"] == "DicomModalityStore"]
    return len(jobs) >= 1 and all(job["State"] in {"Success", "Failure"} for job in jobs)
