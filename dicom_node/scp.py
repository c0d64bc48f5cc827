"""The storage and verification SCP (PS3.4 A.4, B.2): success is answered only when file and record are durable."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from dicom_node.errors import InstanceMismatch, InvalidInstance, OutOfResources
from dicom_node.hardening import HardenedServer
from dicom_node.header import inspect, is_uid
from dicom_node.node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, AETitle
from dicom_node.policy import Rejection, ScpConfig, StoreStatus
from dicom_node.pynetdicom_settings import configure_pynetdicom
from dicom_node.receipts import ReceiptPort, ReceivedInstance
from dicom_node.reception import Reception, Transfer
from dicom_node.spool import Spool
from dicom_node.transfer_syntaxes import STORAGE_CLASSES, STORAGE_SYNTAXES, VERIFICATION_SYNTAXES

__all__ = ["ReceiptPort", "ReceivedInstance", "Rejection", "ScpConfig", "StorageSCP", "StoreStatus"]

LOGGER = logging.getLogger(__name__)

_SYNTAXES_NOT_SUPPORTED = 4  # PS3.8 9.3.3.2


class StorageSCP:
    """Listens for associations from ``start`` to ``shutdown``, spools what it is sent, and reports to ``receipts``."""

    def __init__(self, config: ScpConfig, spool: Spool, receipts: ReceiptPort) -> None:
        self._config = config
        self._spool = spool
        self._receipts = receipts
        self._server: HardenedServer | None = None
        self._thread: threading.Thread | None = None
        self._established: set[str] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The TCP port that is listened on; raises ``RuntimeError`` before ``start``."""
        if self._server is None:
            raise RuntimeError("the SCP is not started")
        return self._server.server_address[1]

    @property
    def active_associations(self) -> int:
        """The number of established associations."""
        with self._lock:
            return len(self._established)

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
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ACCEPTED, self._on_accepted),
        ]
        server = self._entity().make_server(
            (self._config.host, self._config.port),
            evt_handlers=handlers,
            server_class=HardenedServer,
            limits=self._config.limits,
            prepare=self._prepare,
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
        for sop_class in STORAGE_CLASSES:
            entity.add_supported_context(sop_class, list(STORAGE_SYNTAXES))
        return entity

    def _prepare(self, association: Association) -> Callable[[], None]:
        """Give a new association its reception and return what is to be done when it is over."""
        reception = Reception(association, self._spool)
        reception.peer_address = association.requestor.address
        association.dimse = reception

        def finish() -> None:
            reception.close()
            with self._lock:
                was_established = reception.association_id in self._established
                self._established.discard(reception.association_id)
            if was_established:
                LOGGER.info("association %s closed", reception.association_id)
                self._receipts.association_closed(reception.association_id)

        return finish

    def _on_requested(self, event: Event) -> None:
        """Reject the association request, or take its place among the established ones."""
        association, reception = event.assoc, _reception(event.assoc)
        rejection = self._admit(association, reception)
        if rejection is None:
            return
        LOGGER.warning(
            "association from %s rejected: %s", reception.peer_address, rejection.name.lower().replace("_", " ")
        )
        association.acse.send_reject(rejection >> 16, rejection >> 8 & 0xFF, rejection & 0xFF)
        association.kill()

    def _admit(self, association: Association, reception: Reception) -> Rejection | None:
        request = cast("A_ASSOCIATE", association.requestor.primitive)
        if request.called_ae_title.strip() != self._config.ae_title:
            return Rejection.CALLED_AE_TITLE
        try:
            calling = AETitle(request.calling_ae_title)
        except ValueError:
            return Rejection.CALLING_AE_TITLE
        if self._config.calling_ae_titles and calling not in self._config.calling_ae_titles:
            return Rejection.CALLING_AE_TITLE
        if not self._has_space():
            return Rejection.TEMPORARY_CONGESTION
        with self._lock:
            if len(self._established) >= self._config.max_associations:
                return Rejection.LOCAL_LIMIT
            self._established.add(reception.association_id)
        reception.calling_ae_title = calling
        return None

    def _has_space(self) -> bool:
        try:
            return self._spool.free_bytes() >= self._config.min_free_bytes
        except OSError:  # pynetdicom accepts the association when a handler raises
            return False

    def _on_accepted(self, event: Event) -> None:
        """Log what was accepted, and by name what was not."""
        reception = _reception(event.assoc)
        refused = sorted({_refused_name(context) for context in event.assoc.rejected_contexts})
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
            return _refuse(reception, StoreStatus.DATA_SET_MISMATCH, str(error))
        except InvalidInstance as error:
            return _refuse(reception, StoreStatus.CANNOT_UNDERSTAND, str(error))
        except OutOfResources as error:
            return _refuse(reception, StoreStatus.OUT_OF_RESOURCES, str(error))
        except BaseException as error:  # noqa: BLE001 - the one boundary where whatever failed becomes a status
            LOGGER.error(  # noqa: TRY400 - a traceback could quote what the peer sent
                "association %s: storing failed with %s", reception.association_id, type(error).__name__
            )
            return _refuse(reception, StoreStatus.OUT_OF_RESOURCES, "The instance could not be recorded")
        return StoreStatus.SUCCESS

    def _store(self, event: Event, reception: Reception) -> None:
        """Check, keep and record the instance; returns when file and record are durable."""
        received_at = datetime.now(UTC)
        incoming = cast("Transfer", cast("C_STORE", event.request).DataSet).take()
        try:
            with incoming.data_set() as data:
                header = inspect(data, incoming.meta.transfer_syntax_uid)
            if header.sop_class_uid != incoming.meta.sop_class_uid:
                raise InstanceMismatch("SOP Class UID of data set and command differ")
            if header.sop_instance_uid != incoming.meta.sop_instance_uid:
                raise InstanceMismatch("SOP Instance UID of data set and command differ")
            stored = self._spool.keep(incoming, header)
        finally:
            incoming.discard()
        self._receipts.record(
            ReceivedInstance(
                header=header,
                transfer_syntax_uid=stored.meta.transfer_syntax_uid,
                sha256=stored.sha256,
                size_bytes=stored.size_bytes,
                path=stored.path,
                calling_ae_title=reception.calling_ae_title,
                peer_address=reception.peer_address,
                association_id=reception.association_id,
                received_at=received_at,
            )
        )


def _reception(association: Association) -> Reception:
    return cast("Reception", association.dimse)


def _refuse(reception: Reception, status: StoreStatus, comment: str) -> Dataset:
    """Log a refusal and return its status with an Error Comment (0000,0902), which is at most 64 characters."""
    LOGGER.warning("association %s: instance refused with 0x%04X: %s", reception.association_id, status, comment)
    answer = Dataset()
    answer.Status = int(status)
    answer.ErrorComment = comment[:64]
    return answer


def _refused_name(context: PresentationContext) -> str:
    """Return the name of a refused SOP class (its UID when it has none), and whether only its encoding was refused."""
    text = str(context.abstract_syntax or "")
    name = UID(text).name if is_uid(text) else "malformed UID"
    return f"{name} (transfer syntaxes)" if context.result == _SYNTAXES_NOT_SUPPORTED else name
