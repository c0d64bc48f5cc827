"""A study received for real, and the two parts of the way behind it that a test scripts: the network and the PACS."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from sqlalchemy import func, select

from dicom_node.commitment_report import STORAGE_COMMITMENT
from dicom_node.node import AETitle, Peer
from dicom_node.reading import ReadingLimits
from dicom_node.scp import ScpConfig, StorageSCP
from dicom_node.scu import send
from dicom_node.spool import Spool
from model.bundle import Bundle
from model.findings import StudyFindings, Vertebra, VertebraFinding
from tests.dicom_node.commitment_scp import CommitmentScp
from training.synthesis.phantom_series import SeriesOptions, write_series
from worker import studies
from worker.analysis import StudyAnalyzer
from worker.commitments import reports_into
from worker.database import Database, GroupCommitWriter, migrate
from worker.delivery import StudyDelivery
from worker.destination_file import read_destinations
from worker.destinations import Destination
from worker.devices import device_of
from worker.intake import Intake
from worker.links import LinkMaker, Links
from worker.pipeline import AnalysisTools
from worker.queries import StudyView, find_study
from worker.records import Base, Study
from worker.settings import Settings
from worker.states import Cause, StudyState
from worker.storage import ResultStore
from worker.studies import Move

SPACING_MM = (2.0, 1.5, 1.5)
VERIFICATION = "1.2.840.10008.1.1"
RESULT_CLASSES = (
    SegmentationStorage,
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    KeyObjectSelectionDocumentStorage,
)


def boxes() -> NDArray[np.int16]:
    """A standard-frame volume of 7 boxes in soft tissue: the HU of a box tells its level (600 = C1 ... 660 = C7)."""
    hu = np.full((64, 72, 72), -1000, dtype=np.int16)
    hu[:, 8:66, 6:66] = 40
    for vertebra in Vertebra:
        top = 4 + 8 * (vertebra - 1)
        hu[top : top + 6, 30:42, 28:44] = 590 + 10 * vertebra
    return hu


@dataclass
class ReadsTheBoxes:
    """A network that knows the boxes; ``before`` is called first, to crash or to wait."""

    before: Callable[[], None] = lambda: None
    calls: int = 0

    def predict(self, hu: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> "BoxPrediction":
        """Label the boxes; C5 is fractured in its right half, where the network also looked."""
        self.calls += 1
        self.before()
        labels = np.where((hu >= 600) & (hu <= 660), (hu - 590) // 10, 0).astype(np.uint8)
        voxel_mm3 = float(np.prod(spacing_mm))
        found = [
            VertebraFinding(
                v, 0.9 if v is Vertebra.C5 else 0.1, v is Vertebra.C5, voxel_mm3 * float((labels == v).sum())
            )
            for v in Vertebra
            if (labels == v).any()
        ]
        lesions = np.where(labels == Vertebra.C5, labels, np.uint8(0))
        lesions[:, :, hu.shape[2] // 2 :] = 0
        activation = np.where(lesions > 0, np.uint8(200), np.uint8(0))
        return BoxPrediction(labels, StudyFindings(tuple(found), 0.9, 0.5), lesions, activation)


@dataclass(frozen=True)
class BoxPrediction:
    """The answer of ``ReadsTheBoxes``."""

    labels: NDArray[np.uint8]
    findings: StudyFindings
    lesions: NDArray[np.uint8]
    activation: NDArray[np.uint8]
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class RecordsRings:
    """A bell that only notes who rang."""

    analyses: list[tuple[int, int]] = field(default_factory=list)
    deliveries: list[tuple[int, int]] = field(default_factory=list)
    comparisons: list[int] = field(default_factory=list)

    def ring_shadow(self, run_id: int) -> None:
        """Note it."""
        self.comparisons.append(run_id)

    def ring_analysis(self, study_id: int, generation: int) -> None:
        """Note it."""
        self.analyses.append((study_id, generation))

    def ring_delivery(self, study_id: int, generation: int) -> None:
        """Note it."""
        self.deliveries.append((study_id, generation))


class ScriptedPacs:
    """A storage SCP that answers each SOP class with a scripted status and keeps what it accepted.

    ``received`` lists every acceptance, ``held`` the bytes of each instance (more than one: it changed under its UID).
    With a ``commitment`` it is asked for storage commitment as well. ``before_store`` may keep a sender waiting.
    """

    def __init__(self, statuses: Mapping[str, int] | None = None, commitment: CommitmentScp | None = None) -> None:
        self.statuses = dict(statuses or {})
        self.before_store: Callable[[], None] = lambda: None
        self.received: list[str] = []
        self.held: dict[str, set[bytes]] = {}
        self._lock = threading.Lock()
        entity = AE(ae_title="PACS")
        for sop_class in (VERIFICATION, *RESULT_CLASSES):
            entity.add_supported_context(sop_class)
        self._sockets: list[socket.socket] = []
        handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, self._store), (evt.EVT_CONN_OPEN, self._remember)]
        if commitment is not None:
            entity.add_supported_context(STORAGE_COMMITMENT)
            handlers += [(evt.EVT_N_ACTION, commitment.on_action), (evt.EVT_ESTABLISHED, commitment.on_established)]
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert self._server is not None
        self.peer = Peer(AETitle("PACS"), "127.0.0.1", self._server.server_address[1])

    def stop(self) -> None:
        """Stop listening; may be repeated. pynetdicom leaves a socket open when its peer was the first to go."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            for association in server.active_associations:
                association.abort()
            for connection in self._sockets:
                connection.close()

    def _remember(self, event: evt.Event) -> None:
        self._sockets.append(event.assoc.dul.socket.socket)

    def _store(self, event: evt.Event) -> int:
        self.before_store()
        request = cast("C_STORE", event.request)
        status = self.statuses.get(str(request.AffectedSOPClassUID), 0x0000)
        with self._lock:
            if status == 0x0000:
                uid = str(request.AffectedSOPInstanceUID)
                self.received.append(uid)
                self.held.setdefault(uid, set()).add(event.encoded_dataset(include_meta=False))
        return status


@dataclass(frozen=True)
class FakeBundle:
    """The name and version that results carry."""

    name: str = "boxes"
    version: str = "1"
    sha256: str = "0" * 64


@dataclass
class Workplace:
    """Database, spool, results and settings of one installation, without its processes."""

    settings: Settings
    database: Database
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    network: ReadsTheBoxes = field(default_factory=ReadsTheBoxes)
    bell: RecordsRings = field(default_factory=RecordsRings)
    bundle: FakeBundle = field(default_factory=FakeBundle)

    def receive(self, folder: Path) -> None:
        """Receive the files of a folder by C-STORE into spool and records."""
        writer = GroupCommitWriter(self.database)
        spool = Spool(self.settings.spool_dir, min_free_bytes=1)
        config = ScpConfig(AETitle("CSPINE"), port=0, min_free_bytes=1)
        scp = StorageSCP(config, spool, Intake(writer))
        scp.start()
        try:
            peer = Peer(AETitle("CSPINE"), "127.0.0.1", scp.port)
            outcomes = send(sorted(folder.iterdir()), peer, "SENDER")
            assert all(outcome.accepted for outcome in outcomes), outcomes
        finally:
            scp.shutdown()
            writer.close()

    def complete(self) -> tuple[int, int]:
        """Move the one study to QUEUED; return its id and generation."""
        with self.database.transaction() as session:
            row = session.scalars(select(Study)).one()
            position = studies.position_of(session, row.id)
            studies.transition(session, position, Move(Cause.COMPLETED, self.clock(), completed_by="quiet"))
        return row.id, row.generation

    def analyzer(self, tools: Callable[[], AnalysisTools] | None = None) -> StudyAnalyzer:
        """The body of the analysis task, with the scripted network unless the tools are given."""
        bundle = cast("Bundle", self.bundle)
        scripted = AnalysisTools(self.network, bundle, device_of(self.settings), ReadingLimits(), self.clock)
        results = ResultStore(self.settings.results_dir)
        return StudyAnalyzer(self.settings, self.database, results, tools or (lambda: scripted), self.bell, self.clock)

    def delivery(self, destinations: Sequence[Destination] | None = None, links: Links | None = None) -> StudyDelivery:
        """The body of the delivery task, to the destinations of the settings unless others are given."""
        return StudyDelivery(
            settings=self.settings,
            destinations=read_destinations(self.settings) if destinations is None else destinations,
            links=links or LinkMaker(self.settings.ae_title, reports_into(self.database)),
            database=self.database,
            results=ResultStore(self.settings.results_dir),
            clock=self.clock,
        )

    def view(self) -> StudyView:
        """The one study."""
        with self.database.reading() as session:
            uid = session.scalars(select(Study.study_instance_uid)).one()
        view = find_study(self.database, uid)
        assert view is not None
        return view

    def deliver(self, destinations: Sequence[Destination] | None = None, links: Links | None = None) -> StudyState:
        """Look at the one study as a clerk does; return its state then."""
        self.delivery(destinations, links).deliver(*self.position())
        return self.state()

    def position(self) -> tuple[int, int]:
        """The one study's key and generation."""
        with self.database.reading() as session:
            row = session.scalars(select(Study)).one()
        return row.id, row.generation

    def advance(self, seconds: float) -> None:
        """Let the clock be that much later from now on, and stand still."""
        later = self.clock() + timedelta(seconds=seconds)
        self.clock = lambda: later

    def state(self) -> StudyState:
        """The one study's state."""
        return self.view().state


@contextmanager
def analyzed(template: Path, folder: Path, destination: Peer | None = None) -> Iterator[Workplace]:
    """An installation with a study that waits to be sent, copied from ``template``."""
    shutil.copytree(template, folder)
    with workplace(folder, destination) as made:
        made.bell.deliveries.append((1, 1))
        yield made


def copy_records(source: Database, target: Database) -> None:
    """Every row into an empty PostgreSQL database of the same schema, whose keys go on after them."""
    with source.reading() as reading, target.transaction() as writing:
        for table in Base.metadata.sorted_tables:
            rows = [dict(row) for row in reading.execute(select(table)).mappings()]
            if rows:
                writing.execute(table.insert(), rows)
                sequence = func.pg_get_serial_sequence(table.name, "id")
                writing.execute(select(func.setval(sequence, max(row["id"] for row in rows))))


@contextmanager
def workplace(folder: Path, destination: Peer | None = None, database_url: str | None = None) -> Iterator[Workplace]:
    """An installation in ``folder``."""
    settings = Settings(
        data_dir=folder,
        destination=destination,
        database_url=database_url,
        retry_base_seconds=0.01,
        retry_max_seconds=0.02,
    )
    database = Database.open(settings.effective_database_url)
    migrate(database)
    try:
        yield Workplace(settings, database)
    finally:
        database.close()


def write_boxes(folder: Path, options: SeriesOptions | None = None) -> Sequence[Path]:
    """The boxes as a DICOM series."""
    return write_series(boxes(), SPACING_MM, folder, options or SeriesOptions())
