"""The storage and verification SCP (PS3.4 A.4, B.2): success is answered only when file and record are durable.

It takes reports of storage commitment as well, from peers in the SCP role (PS3.4 J.3.3).
"""

import logging
import threading
from collections.abc import Callable
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from dicom_node.admission import Admission, refused_names
from dicom_node.commitment_report import (
    STORAGE_COMMITMENT,
    CommitmentPort,
    ReceivedReport,
    RefusedReport,
    ReportStatus,
    take_report,
)
from dicom_node.errors import InstanceMismatch, InvalidInstance, OutOfResources
from dicom_node.hardening import HardenedServer
from dicom_node.node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.observation import ScpObserver
from dicom_node.policy import Rejection, ScpConfig, StoreStatus
from dicom_node.pynetdicom_settings import configure_pynetdicom
from dicom_node.receipts import ReceiptPort, ReceivedInstance
from dicom_node.reception import Reception
from dicom_node.spool import Spool
from dicom_node.storing import Sender, store
from dicom_node.transfer import Transfer
from dicom_node.transfer_syntaxes import (
    NATIVE_SYNTAXES,
    RETURNED_CLASSES,
    REVIEW_CLASSES,
    STORAGE_CLASSES,
    VERIFICATION_SYNTAXES,
    syntaxes_of,
)

__all__ = [
    "CommitmentPort",
    "ReceiptPort",
    "ReceivedInstance",
    "ReceivedReport",
    "Rejection",
    "ReportStatus",
    "ScpConfig",
    "StorageSCP",
    "StoreStatus",
]

LOGGER = logging.getLogger(__name__)


class StorageSCP:
    """Listens for associations from ``start`` to ``shutdown``, spools what it is sent, and reports to ``receipts``.

    Reports of storage commitment go to ``reports``; without it they are not negotiated. ``observer`` is told what
    happens, for figures.
    """

    def __init__(
        self,
        config: ScpConfig,
        spool: Spool,
        receipts: ReceiptPort,
        reports: CommitmentPort | None = None,
        observer: ScpObserver | None = None,
    ) -> None:
        self._config = config
        self._spool = spool
        self._receipts = receipts
        self._reports = reports
        self._observer = observer or ScpObserver()
        self._admission = Admission(config, spool)
        self._server: HardenedServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The TCP port that is listened on; raises ``RuntimeError`` before ``start``."""
        if self._server is None:
            raise RuntimeError("the SCP is not started")
        return self._server.server_address[1]

    @property
    def active_associations(self) -> int:
        """The number of established associations."""
        return self._admission.established

    @property
    def is_listening(self) -> bool:
        """Whether connections are accepted."""
        return self._server is not None and self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Delete what cut transfers left, then listen; raises ``OSError`` when the address is not to be had."""
        if self._server is not None:
            raise RuntimeError("the SCP is started already")
        configure_pynetdicom()
        swept = self._spool.sweep()
        if swept:
            LOGGER.info("deleted %d incomplete incoming files", swept)
        handlers: list[EventHandlerType] = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_EVENT_REPORT, self._on_report),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ACCEPTED, self._on_accepted),
        ]
        server = self._entity().make_server(
            (self._config.host, self._config.port),
            evt_handlers=handlers,
            server_class=HardenedServer,
            limits=self._config.limits,
            prepare=self._prepare,
            refused=self._observer.connection_refused,
        )
        self._server = cast("HardenedServer", server)
        self._thread = threading.Thread(target=server.serve_forever, args=(0.25,), name="scp-accept", daemon=True)
        self._thread.start()

    def shutdown(self, drain_seconds: float = 25.0) -> None:
        """Stop accepting, let running associations finish for ``drain_seconds``, then abort them; may be repeated."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        if not server.wait_until_idle(drain_seconds):
            LOGGER.warning("%d associations aborted by shutdown", len(server.active_associations))
            server.abort_associations()

    def _entity(self) -> AE:
        """Return the application entity with its contexts (PS3.2: the tables of CONFORMANCE.md)."""
        entity = AE(ae_title=self._config.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.maximum_pdu_size = self._config.limits.max_pdu_bytes
        entity.acse_timeout = self._config.acse_seconds
        entity.dimse_timeout = self._config.idle_seconds
        entity.network_timeout = self._config.idle_seconds
        entity.require_called_aet = True
        entity.maximum_associations = self._config.limits.max_sockets  # ours counts established ones only
        entity.add_supported_context(Verification, list(VERIFICATION_SYNTAXES))
        for sop_class in STORAGE_CLASSES + (REVIEW_CLASSES + RETURNED_CLASSES if self._config.reviews else ()):
            entity.add_supported_context(sop_class, list(syntaxes_of(sop_class)))
        if self._reports is not None:
            entity.add_supported_context(STORAGE_COMMITMENT, list(NATIVE_SYNTAXES), scu_role=False, scp_role=True)
        return entity

    def _prepare(self, association: Association) -> Callable[[], None]:
        """Give a new association its reception and return what is to be done when it is over."""
        reception = Reception(association, self._spool)
        reception.peer_address = association.requestor.address
        association.dimse = reception

        def finish() -> None:
            reception.close()
            if self._admission.leave(reception):
                LOGGER.info("association %s closed", reception.association_id)
                self._receipts.association_closed(reception.association_id)

        return finish

    def _on_requested(self, event: Event) -> None:
        """Let the association in or reject it."""
        rejection = self._admission.decide(event.assoc, _reception(event.assoc))
        if rejection is not None:
            self._observer.association_rejected(rejection)

    def _on_accepted(self, event: Event) -> None:
        """Log what was accepted, and by name what was not."""
        reception = _reception(event.assoc)
        refused = refused_names(event.assoc)
        self._observer.association_accepted()
        LOGGER.info(
            "association %s accepted from %s at %s, %d presentation contexts",
            reception.association_id,
            reception.calling_ae_title,
            reception.peer_address,
            len(reception.contexts),
        )
        if refused:
            LOGGER.info("association %s: refused %s", reception.association_id, ", ".join(refused))

    def _on_store(self, event: Event) -> int | Dataset:
        """Store one instance and return its status (PS3.4 B.2.3)."""
        reception = _reception(event.assoc)
        try:
            self._store(event, reception)
        except InstanceMismatch as error:
            return self._refuse(reception, StoreStatus.DATA_SET_MISMATCH, str(error))
        except InvalidInstance as error:
            return self._refuse(reception, StoreStatus.CANNOT_UNDERSTAND, str(error))
        except OutOfResources as error:
            return self._refuse(reception, StoreStatus.OUT_OF_RESOURCES, str(error))
        except BaseException as error:  # noqa: BLE001 - the one boundary where whatever failed becomes a status
            LOGGER.error(  # noqa: TRY400 - a traceback could quote what the peer sent
                "association %s: storing failed with %s", reception.association_id, type(error).__name__
            )
            return self._refuse(reception, StoreStatus.OUT_OF_RESOURCES, "The instance could not be recorded")
        return StoreStatus.SUCCESS

    def _store(self, event: Event, reception: Reception) -> None:
        """Check, keep and record the instance; returns when file and record are durable.

        What nobody here has a use for (a PACS that forwards whole studies sends our own results back, and documents of
        others) is not kept, and answered with success: a failure would be tried again without end, or hold up the
        queue of the sender, for an instance that this node will never want. Success promises no safekeeping: that is
        the storage commitment's (PS3.4 J), and for how long instances are kept is the conformance statement's to say
        (PS3.4 B.4.3).
        """
        incoming = cast("Transfer", cast("C_STORE", event.request).DataSet).take()
        sender = Sender(reception.calling_ae_title, reception.peer_address, reception.association_id)
        stored = store(incoming, self._spool, self._receipts, sender)
        if stored is None:
            LOGGER.info("association %s: an instance of no use here was not kept", reception.association_id)
            self._observer.instance_ignored()
            return
        self._observer.instance_stored(stored.size_bytes)

    def _refuse(self, reception: Reception, status: StoreStatus, comment: str) -> Dataset:
        """Log a refusal and return its status with an Error Comment (0000,0902), which is at most 64 characters."""
        LOGGER.warning("association %s: instance refused with 0x%04X: %s", reception.association_id, status, comment)
        self._observer.instance_refused(status)
        answer = Dataset()
        answer.Status = int(status)
        answer.ErrorComment = comment[:64]
        return answer

    def _on_report(self, event: Event) -> tuple[int, None]:
        """Take a report of storage commitment and return its status; there is no Event Reply (PS3.4 J.3.3.1)."""
        reception = _reception(event.assoc)
        request = cast("N_EVENT_REPORT", event.request)
        try:
            take_report(request, event.context.transfer_syntax, reception.calling_ae_title, self._reports)
        except RefusedReport as error:
            LOGGER.warning("association %s: report refused: %s", reception.association_id, error)
            return error.status, None
        except BaseException as error:  # noqa: BLE001 - as for instances: whatever failed becomes a status
            LOGGER.error(  # noqa: TRY400 - a traceback could quote what the peer sent
                "association %s: recording a report failed with %s", reception.association_id, type(error).__name__
            )
            return ReportStatus.PROCESSING_FAILURE, None
        return ReportStatus.SUCCESS, None


def _reception(association: Association) -> Reception:
    return cast("Reception", association.dimse)
