"""The listener process: SCP, spool, intake and commitment reports composed; receives until SIGTERM, then drains."""

import logging
import signal
import threading
from dataclasses import replace
from types import FrameType

from dicom_node.node import AETitle
from dicom_node.scp import ScpConfig, StorageSCP
from dicom_node.spool import Spool
from worker.commitments import CommitmentReports
from worker.counters import Pending
from worker.database import Database, GroupCommitWriter, migrate
from worker.errors import StartupError
from worker.health import health_server
from worker.heartbeats import Process, Pulse, Role, Vitals
from worker.intake import Intake
from worker.logs import configure_logging
from worker.reporter import ReceptionCounts, Reporter
from worker.settings import Settings

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 25.0


def run_listener(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT; running associations are let finish, then everything durable is closed.

    Raises ``StartupError`` when the port is taken, ``DatabaseError`` when the database cannot be used.
    """
    configure_logging(settings)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    database = Database.open(settings.effective_database_url)
    migrate(database)
    writer = GroupCommitWriter(database)
    spool = Spool(settings.spool_dir, min_free_bytes=settings.min_free_bytes)
    intake = Intake(writer)
    logger.info("adopted %d instances that had no record", intake.adopt(spool))
    pending = Pending()
    observer = ReceptionCounts(pending)
    scp = StorageSCP(scp_config(settings), spool, intake, CommitmentReports(writer.write), observer)
    pulse = Pulse(Process.this(Role.LISTENER), lambda: _vitals(settings, scp))
    reporter = Reporter(database, pulse, pending, lambda: scp.is_listening)
    health = health_server(settings, Role.LISTENER, database, lambda: scp.is_listening)
    try:
        scp.start()
        health.start()
        reporter.start()
        logger.info("listening as %s on %s port %d", settings.ae_title, settings.host, scp.port)
        stop.wait()
    except OSError as error:
        message = (
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}): set CSPINE_PORT or CSPINE_HOST"
        )
        raise StartupError(message) from error
    finally:
        scp.shutdown(DRAIN_SECONDS)
        health.stop()
        reporter.stop()
        writer.close()
        database.close()


def _vitals(settings: Settings, scp: StorageSCP) -> Vitals:
    return replace(Vitals.now(settings.data_dir), associations=scp.active_associations)


def scp_config(settings: Settings) -> ScpConfig:
    """The SCP's configuration that these settings ask for."""
    return ScpConfig(
        ae_title=AETitle(settings.ae_title),
        host=settings.host,
        port=settings.port,
        calling_ae_titles=frozenset(AETitle(title) for title in settings.allowed_calling_ae_titles),
        max_associations=settings.max_associations,
        min_free_bytes=2 * settings.min_free_bytes,  # whole studies are turned away before single instances are
        reviews=settings.reviews,
    )
