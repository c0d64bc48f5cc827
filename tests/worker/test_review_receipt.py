"""worker.review_receipt: reviews get rows of their own and move nothing; our own results are not kept."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage
from sqlalchemy import select, update

from dicom_node.header import InstanceHeader
from dicom_node.part10 import FileMeta
from dicom_node.receipts import ReceivedInstance
from dicom_node.spool import Spool
from tests.dicom_node.tiny_ct import encode_data_set
from tests.dicom_node.tiny_reviews import make_document
from tests.worker.test_intake import EXPLICIT, NOW, received, seen, store_file
from worker.database import Database, GroupCommitWriter
from worker.intake import Intake
from worker.records import ResultObject, Review, ReviewState, Run, Study
from worker.states import StudyState

OURS = "2.25.77"


@pytest.fixture
def intake(database: Database) -> Iterator[Intake]:
    writer = GroupCommitWriter(database)
    yield Intake(writer)
    writer.close()


def review(number: int = 1, *, study: str = "1.1", uid: str = "", content: str = "a", **header) -> ReceivedInstance:
    """A document that came back."""
    instance = received(number, study=study, content=f"review {content}", seconds=60)
    changed = InstanceHeader(Comprehensive3DSRStorage, uid or f"9.9.{number}", study, "9.9.9", modality="SR", **header)
    return replace(instance, header=changed)


def with_results(database: Database, study: str = "1.1") -> None:
    """Give the study one run with one result."""
    result = ResultObject(
        kind="report",
        variant="report",
        sop_class_uid=Comprehensive3DSRStorage,
        sop_instance_uid=OURS,
        path="a",
        sha256="0",
        size_bytes=1,
    )
    bundle = {"bundle_name": "b", "bundle_version": "1", "bundle_sha256": "0"}
    with database.transaction() as session:
        study_id = session.scalars(select(Study.id).where(Study.study_instance_uid == study)).one()
        facts = {"findings": {}, "manifest": {}, "seconds": 1.0}
        session.add(Run(study_id=study_id, generation=1, created_at=NOW, results=[result], **bundle, **facts))


def rows(database: Database) -> list[Review]:
    with database.reading() as session:
        return list(session.scalars(select(Review).order_by(Review.id)))


@pytest.mark.parametrize("state", StudyState)
def test_a_review_moves_no_study_in_any_state_and_is_no_instance_of_it(sqlite_database: Database, state: StudyState):
    writer = GroupCommitWriter(sqlite_database)
    intake = Intake(writer)
    intake.record(received())
    with sqlite_database.transaction() as session:
        session.execute(update(Study).values(state=state))
    before = seen(sqlite_database)
    intake.record(review())
    intake.record(review(content="b"))
    writer.close()
    assert seen(sqlite_database) == before
    assert [row.state for row in rows(sqlite_database)] == [ReviewState.RECEIVED] * 2


def test_the_same_review_again_adds_nothing(database: Database, intake: Intake):
    intake.record(received())
    for _ in range(3):
        intake.record(review())
    [row] = rows(database)
    assert (row.sop_instance_uid, row.calling_ae_title, row.path) == ("9.9.1", "PACS", review().path)
    assert (row.verdict, row.run_id, row.content) == (None, None, None)


def test_what_is_of_use_is_an_image_or_speaks_of_a_study_with_results(database: Database, intake: Intake):
    intake.record(received())
    assert intake.has_use_for(received(2).header)
    assert not intake.has_use_for(review().header)
    with_results(database)
    assert intake.has_use_for(review().header)
    assert intake.has_use_for(replace(review().header, sop_class_uid=SegmentationStorage))
    assert not intake.has_use_for(review(study="1.2").header)


def test_our_own_result_is_of_no_use_unless_it_was_verified_in_place(database: Database, intake: Intake):
    intake.record(received())
    with_results(database)
    assert not intake.has_use_for(review(uid=OURS).header)
    assert intake.has_use_for(review(uid=OURS, verified=True).header)


def test_a_review_of_an_unknown_study_makes_none(database: Database, intake: Intake):
    intake.record(review())
    assert rows(database) == []
    with database.reading() as session:
        assert session.scalars(select(Study)).all() == []


def store_review(spool: Spool) -> str:
    dataset = make_document()
    dataset.StudyInstanceUID = "1.1"
    incoming = spool.receive(FileMeta(dataset.SOPClassUID, dataset.SOPInstanceUID, EXPLICIT, "READER"))
    incoming.write(encode_data_set(dataset))
    header = InstanceHeader(dataset.SOPClassUID, dataset.SOPInstanceUID, "1.1", dataset.SeriesInstanceUID)
    return spool.keep(incoming, header).path


def test_a_review_without_a_record_is_adopted_once_and_after_its_study(sqlite_database: Database, tmp_path: Path):
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    path = store_review(spool)
    writer = GroupCommitWriter(sqlite_database)
    Intake(writer).adopt(spool)
    assert rows(sqlite_database) == []
    images = [store_file(spool, number) for number in range(6)]
    assert min(images) < path < max(images)
    assert Intake(writer).adopt(spool) == 7
    assert Intake(writer).adopt(spool) == 0
    writer.close()
    [row] = rows(sqlite_database)
    assert (row.path, row.calling_ae_title) == (path, "READER")
    assert seen(sqlite_database).instances == 6
