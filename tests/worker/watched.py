"""An installation in which much has happened for real, good and bad, as its figures should tell; and a look at them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydicom.uid import SegmentationStorage
from sqlalchemy import select

from dicom_node.errors import PeerError
from dicom_node.node import AETitle, Peer
from dicom_node.scp import ScpConfig, StorageSCP
from dicom_node.scu import echo, send
from dicom_node.spool import Spool
from tests.dicom_node.commitment_scp import CommitmentScp, Way
from tests.dicom_node.tiny_reviews import make_document
from tests.worker.scripted import ScriptedPacs, Workplace, analyzed, write_boxes
from training.synthesis.phantom_series import Identity, SeriesOptions
from worker.counters import Pending
from worker.database import GroupCommitWriter
from worker.destinations import CommitmentMode, Destination
from worker.gpus import read_gpus
from worker.heartbeats import Process, Pulse, Role, Vitals
from worker.intake import Intake
from worker.metrics import make_registry
from worker.records import ResultObject, Study
from worker.reporter import ReceptionCounts, Reporter
from worker.states import StudyState
from worker.sweeps import Sweeps
from worker.tally import Tally

NVIDIA_SMI = """#!/bin/sh
echo "0, NVIDIA H100 80GB HBM3, 20480, 81559, 42"
echo "1, NVIDIA H100 80GB HBM3, [N/A], [N/A], [N/A]"
"""


@dataclass(frozen=True)
class Listening:
    """A listener that counts."""

    peer: Peer
    reporter: Reporter


@contextmanager
def counting_listener(place: Workplace, min_free_bytes: int = 1) -> Iterator[Listening]:
    """The parts of the listener process, with its counts."""
    writer = GroupCommitWriter(place.database)
    pending = Pending()
    spool = Spool(place.settings.spool_dir, min_free_bytes=min_free_bytes)
    config = ScpConfig(AETitle("CSPINE"), port=0, min_free_bytes=1)
    scp = StorageSCP(config, spool, Intake(writer), observer=ReceptionCounts(pending))
    scp.start()
    pulse = Pulse(
        Process.this(Role.LISTENER),
        lambda: replace(Vitals.now(place.settings.data_dir), associations=scp.active_associations),
    )
    reporter = Reporter(place.database, pulse, pending, lambda: scp.is_listening)
    try:
        yield Listening(Peer(AETitle("CSPINE"), "127.0.0.1", scp.port), reporter)
    finally:
        scp.shutdown()
        reporter.once()
        writer.close()


def reject(peer: Peer) -> None:
    """Call a listener by a name that it has not."""
    try:
        echo(replace(peer, ae_title=AETitle("WRONG")), "SENDER")
    except PeerError as error:
        assert error.code == "PEER_REJECTED"  # noqa: PT017  (a helper, not a test)


def to(pacs: ScriptedPacs) -> Sequence[Destination]:
    """The PACS as a destination that is asked for storage commitment."""
    return [Destination("pacs", pacs.peer, commitment=CommitmentMode.STORAGE_COMMITMENT, commitment_wait_seconds=600)]


def deliver_with_trouble(place: Workplace) -> None:
    """One study on its way: refused for now, out of reach, not kept, and at last confirmed."""
    with place.database.reading() as session:
        lost = session.scalars(select(ResultObject.sop_instance_uid)).first()
    pacs = ScriptedPacs(
        {SegmentationStorage: 0xA700}, commitment := CommitmentScp(Way.SAME_ASSOCIATION, frozenset({lost or ""}))
    )
    away = ScriptedPacs()
    away.stop()
    try:
        assert place.deliver(to(pacs)) is StudyState.SENDING
        place.advance(1)
        assert place.deliver(to(away)) is StudyState.SENDING
        pacs.statuses.clear()
        place.advance(1)
        assert place.deliver(to(pacs)) is StudyState.SENDING  # it does not keep one
        commitment.missing = frozenset()
        place.advance(1)
        assert place.deliver(to(pacs)) is StudyState.CONFIRMED
    finally:
        pacs.stop()


def receive_with_trouble(place: Workplace, folder: Path) -> None:
    """A useless study from another scanner, a rejected association, a refused and an ignored instance."""
    files = write_boxes(folder / "other", SeriesOptions(identity=Identity(seed=2)))
    make_document().save_as(folder / "document.dcm", enforce_file_format=True)
    with counting_listener(place) as listening:
        assert send(files[:1], listening.peer, "OTHER-CT")[0].accepted
        assert send([folder / "document.dcm"], listening.peer, "OTHER-CT")[0].accepted
        reject(listening.peer)
    with counting_listener(place, min_free_bytes=1 << 62) as full:
        assert not send(files[1:2], full.peer, "OTHER-CT")[0].accepted
    place.advance(3600)
    sweeps = Sweeps(place.database, place.settings, place.bell, place.clock)
    assert sweeps.complete_quiet() == 1
    sweeps.ring()
    with place.database.reading() as session:
        study = session.scalars(select(Study).where(Study.state == StudyState.QUEUED)).one()
    place.analyzer().analyze(study.id, study.generation)


def beat(place: Workplace, folder: Path) -> None:
    """A clerk and a GPU worker show their signs of life."""
    program = folder / "nvidia-smi"
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    vitals = Vitals.now(place.settings.data_dir)
    gpu = replace(vitals, bundle="boxes", bundle_version="1", bundle_sha256="0" * 64, gpus=read_gpus(str(program)))
    with place.database.transaction() as session:
        Pulse(Process.this(Role.CLERK), lambda: vitals).beat(session, datetime.now(UTC))
        Pulse(Process.this(Role.GPU), lambda: gpu).beat(session, datetime.now(UTC))


def tally(place: Workplace) -> None:
    """Count everything that is new."""
    counting = Tally(place.database, place.settings, place.clock)
    while counting.run():
        pass


@contextmanager
def watched(template: Path, folder: Path, *, counted: bool = True) -> Iterator[Workplace]:
    """An installation with two studies: one delivered and confirmed after some trouble, one skipped.

    Unless ``counted``, no clerk has looked at their timelines yet.
    """
    folder.mkdir(exist_ok=True)
    with analyzed(template, folder / "data") as place:
        place.advance(0)
        deliver_with_trouble(place)
        receive_with_trouble(place, folder)
        if counted:
            tally(place)
        place.clock = lambda: datetime.now(UTC)
        beat(place, folder)
        yield place


def registry_of(place: Workplace, clock: Callable[[], datetime] | None = None) -> CollectorRegistry:
    """The figures of an installation whose one destination is called pacs."""
    return make_registry(place.database, place.settings, ["pacs"], clock or place.clock)
