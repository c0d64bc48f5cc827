"""Results in a real archive: Orthanc commits itself, is queried, renames a patient, loses objects; both protocols."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from sqlalchemy import select

from dicom_node.node import Peer
from tests.peers import Orthanc, OrthancOptions, orthanc, wait_until
from tests.worker.scripted import RecordsRings, Workplace, analyzed
from tests.worker.test_confirmation import listener
from worker import studies
from worker.destinations import CommitmentMode, Destination
from worker.devices import device_of
from worker.links import LinkMaker
from worker.records import Delivery, DeliveryState, ResultObject
from worker.retraction import Retraction
from worker.states import StudyState
from worker.storage import ResultStore
from worker.sweeps import Sweeps

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("destinations") / "orthanc", OrthancOptions()) as started:
        yield started


@pytest.fixture
def pacs(server: Orthanc, boxes_folder: Path) -> Orthanc:
    """Orthanc with one instance of the CT study and nothing else."""
    for study in server.get("/studies"):
        server.request("DELETE", f"/studies/{study}")
    server.upload(next(iter(sorted(boxes_folder.iterdir()))))
    return server


@pytest.fixture
def place(tmp_path: Path, analyzed_template: Path) -> Iterator[Workplace]:
    """A study that waits to be sent."""
    with analyzed(analyzed_template, tmp_path / "data") as made:
        made.advance(0)
        yield made


def by_dimse(pacs: Orthanc, **options: object) -> list[Destination]:
    return [Destination("orthanc", peer=Peer.parse(pacs.peer), **options)]  # type: ignore[arg-type]


def by_web(pacs: Orthanc, **options: object) -> list[Destination]:
    return [Destination("web", url=f"http://127.0.0.1:{pacs.http_port}/dicom-web", **options)]  # type: ignore[arg-type]


BOTH = pytest.mark.parametrize("to", [by_dimse, by_web])


def held(pacs: Orthanc, place: Workplace) -> dict[str, str]:
    """Orthanc's id of each result that it has, by SOP Instance UID."""
    uid = place.view().line.study_instance_uid
    tags = {instance: pacs.get(f"/instances/{instance}/simplified-tags") for instance in pacs.instances(uid)}
    return {values["SOPInstanceUID"]: instance for instance, values in tags.items() if values["Modality"] != "CT"}


def result_uids(place: Workplace, identity: int = 0) -> set[str]:
    with place.database.reading() as session:
        query = select(ResultObject.sop_instance_uid).where(ResultObject.identity == identity)
        return set(session.scalars(query))


def test_orthanc_commits_itself_by_a_report_to_our_listener(place: Workplace, pacs: Orthanc) -> None:
    mode = CommitmentMode.STORAGE_COMMITMENT
    destinations = by_dimse(pacs, commitment=mode, commitment_wait_seconds=600)
    with listener(place) as ours:
        pacs.connect(ours.port)
        if place.deliver(destinations) is StudyState.DELIVERED:  # else the report came before the clerk was done
            sweeps = Sweeps(place.database, place.settings, RecordsRings(), place.clock)
            wait_until(lambda: sweeps.run().rung > 0, 10, "Orthanc's report")
            place.deliver(destinations)
    assert place.state() is StudyState.CONFIRMED
    assert set(held(pacs, place)) == result_uids(place)


def test_an_archive_that_does_not_report_is_queried_when_the_time_to_wait_is_over(
    place: Workplace, pacs: Orthanc
) -> None:
    pacs.connect(9)  # nobody listens there
    mode = CommitmentMode.STORAGE_COMMITMENT
    destinations = by_dimse(pacs, commitment=mode, commitment_wait_seconds=5)
    assert place.deliver(destinations) is StudyState.DELIVERED
    place.advance(5)
    assert place.deliver(destinations) is StudyState.CONFIRMED
    assert "a query found 4 of 4 objects" in "\n".join(place.view().as_lines())


@BOTH
def test_what_a_query_does_not_find_is_sent_again_alone(place: Workplace, pacs: Orthanc, to) -> None:
    destinations = to(pacs, commitment=CommitmentMode.QUERY, commitment_wait_seconds=5)
    assert place.deliver(destinations) is StudyState.DELIVERED
    place.advance(4)
    assert place.deliver(destinations) is StudyState.DELIVERED  # it gets its time to file them
    lost = place.view().results[2].sop_instance_uid
    pacs.request("DELETE", f"/instances/{held(pacs, place)[lost]}")
    place.advance(1)
    assert place.deliver(destinations) is StudyState.SENDING
    assert "NOT_KEPT" not in str(place.view().reason)
    place.advance(1)
    assert place.deliver(destinations) is StudyState.DELIVERED
    place.advance(5)
    assert place.deliver(destinations) is StudyState.CONFIRMED
    assert set(held(pacs, place)) == result_uids(place)
    with place.database.reading() as session:
        assert sorted(session.scalars(select(Delivery.attempts))) == [1, 1, 1, 2]


def rename(pacs: Orthanc, folder: Path, **changes: str) -> None:
    """Give the study in Orthanc another identity under the same UIDs, as a merge does; results in it are lost."""
    [instance, *_] = pacs.post("/tools/find", {"Level": "Instance", "Query": {"Modality": "CT"}})
    dataset = dcmread(pacs.download(instance, folder))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    for study in pacs.get("/studies"):
        pacs.request("DELETE", f"/studies/{study}")
    dataset.save_as(folder / "renamed.dcm")
    pacs.upload(folder / "renamed.dcm")


def original(place: Workplace) -> dict[str, str]:
    """Whose the results are."""
    header = dcmread(place.settings.results_dir / place.view().results[0].path, stop_before_pixels=True)
    return {"PatientID": str(header.PatientID), "PatientName": str(header.PatientName)}


@BOTH
def test_results_of_a_renamed_patient_go_under_the_new_identity(place: Workplace, pacs: Orthanc, to) -> None:
    before = original(place)
    rename(pacs, place.settings.data_dir, PatientID="MERGED-1", PatientName="New^Name", AccessionNumber="ACC-9")
    destinations = to(pacs, reconcile=True)
    assert place.deliver(destinations) is StudyState.DELIVERED
    received = held(pacs, place)
    assert set(received) == result_uids(place, 1)
    assert result_uids(place).isdisjoint(received)
    for instance in received.values():
        tags = pacs.get(f"/instances/{instance}/simplified-tags")
        assert (tags["PatientID"], tags["PatientName"], tags["AccessionNumber"]) == ("MERGED-1", "New^Name", "ACC-9")
    assert original(place) == before
    assert [study["PatientMainDicomTags"]["PatientID"] for study in pacs.studies()] == ["MERGED-1"]
    told = "\n".join(place.view().as_lines())
    assert "gives the study the identity 1" in told
    assert "MERGED" not in told


def test_the_same_identity_is_sent_as_it_is_and_a_second_destination_shares_a_new_one(
    place: Workplace, pacs: Orthanc
) -> None:
    destinations = [*by_dimse(pacs, reconcile=True), *by_web(pacs, reconcile=True)]
    assert place.deliver(destinations) is StudyState.DELIVERED
    assert result_uids(place, 1) == set()
    with place.database.transaction() as session:  # as if nothing had been sent yet
        for delivery in session.scalars(select(Delivery)):
            delivery.state, delivery.offered_at = DeliveryState.PENDING, None
        studies.transition(
            session,
            studies.position_of(session, 1),
            studies.Move(studies.Cause.RETRACTED, place.clock()),
        )
    rename(pacs, place.settings.data_dir, PatientID="MERGED-2")
    assert place.deliver(destinations) is StudyState.DELIVERED
    with place.database.reading() as session:
        sent = session.execute(select(Delivery.destination, ResultObject.identity).join(ResultObject)).all()
    assert sorted(map(tuple, sent)) == [("orthanc", 1)] * 4 + [("web", 1)] * 4


@BOTH
def test_another_person_holds_the_results_until_the_operator_retries(place: Workplace, pacs: Orthanc, to) -> None:
    rename(pacs, place.settings.data_dir, PatientID="OTHER", PatientBirthDate="20010101", PatientSex="O")
    destinations = to(pacs, reconcile=True)
    assert place.deliver(destinations) is StudyState.FAILED
    view = place.view()
    assert "PATIENT_CONFLICT" in str(view.reason)
    assert "OTHER" not in "\n".join(view.as_lines())
    assert held(pacs, place) == {}
    sex = dcmread(place.settings.results_dir / view.results[0].path, stop_before_pixels=True)
    rename(
        pacs,
        place.settings.data_dir,
        PatientID="OTHER",
        PatientBirthDate=sex.PatientBirthDate,
        PatientSex=sex.PatientSex,
    )
    with place.database.transaction() as session:
        studies.retry(session, 1, place.clock())
    assert place.deliver(destinations) is StudyState.DELIVERED
    assert set(held(pacs, place)) == result_uids(place, 1)


@BOTH
def test_orthanc_answers_the_doctor_and_takes_the_rejection_of_what_it_holds(
    place: Workplace, pacs: Orthanc, to
) -> None:
    [destination] = to(pacs)
    LinkMaker("CSPINE")(destination).verify()
    assert place.deliver([destination]) is StudyState.DELIVERED
    uid = place.view().line.study_instance_uid
    store = ResultStore(place.settings.results_dir)
    Retraction(place.database, store, device_of(place.settings), datetime.now(UTC)).retract(uid)
    assert place.deliver([destination]) is StudyState.WITHDRAWN
    assert pacs.modalities(uid) == ["CT", "KO", "OT", "SEG", "SR", "SR"]


@BOTH
def test_a_study_that_the_archive_does_not_know_holds_the_results(place: Workplace, pacs: Orthanc, to) -> None:
    for study in pacs.get("/studies"):
        pacs.request("DELETE", f"/studies/{study}")
    assert place.deliver(to(pacs, reconcile=True)) is StudyState.FAILED
    assert "STUDY_NOT_THERE" in str(place.view().reason)
    assert pacs.get("/instances") == []
