"""Received messages of one association: commands checked, data sets streamed into the spool (PS3.7 6.3, PS3.8 E).

Takes the place of pynetdicom's DIMSE decoding on the accepting side: that one keeps whole data sets in memory, or
writes them to a folder of its own choice, and answers nothing when a UID is malformed.
"""

import logging
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from dicom_node.command import (
    C_ECHO_RQ,
    C_STORE_RQ,
    MAX_COMMAND_BYTES,
    Command,
    MalformedCommandError,
    StoreResponse,
    encode_response,
    parse_command,
)
from dicom_node.errors import DicomNodeError, InstanceMismatch, InvalidInstance, OutOfResources
from dicom_node.incoming import IncomingFile
from dicom_node.node import deterministic_uid
from dicom_node.part10 import FileMeta
from dicom_node.spool import Spool
from dicom_node.transfer_syntaxes import STORAGE_CLASSES

if TYPE_CHECKING:
    from pynetdicom.association import Association

LOGGER = logging.getLogger(__name__)

_ANY_INSTANCE = deterministic_uid("stands for the SOP Instance UID where pydicom would look at it")
_COMMAND_FRAGMENT, _LAST_COMMAND_FRAGMENT = 1, 3
_FRAGMENT_OVERHEAD = 6  # length, context id and control header of a presentation data value
_MAX_WAITING_MESSAGES = 4  # asynchronous operations are not negotiated: an honest peer has one outstanding


class Transfer(BytesIO):
    """The data set of one C-STORE request, on its way to the spool; looks like the buffer that pynetdicom expects.

    The first failure is kept and raised by ``take``; what comes after it is thrown away.
    """

    def __init__(self, failure: DicomNodeError | None = None) -> None:
        super().__init__()
        self._failure = failure
        self._incoming: IncomingFile | None = None
        self._lock = threading.Lock()

    def begin(self, spool: Spool, meta: FileMeta) -> None:
        """Open the incoming file unless the command was refused already."""
        if self._failure is None:
            try:
                self._incoming = spool.receive(meta)
            except (InvalidInstance, OutOfResources) as error:
                self._failure = error

    def add(self, data: memoryview) -> None:
        """Append bytes of the data set."""
        with self._lock:
            if self._incoming is None:
                return
            try:
                self._incoming.write(data)
            except (InvalidInstance, OutOfResources) as error:
                self._fail(error)

    def take(self) -> IncomingFile:
        """Hand over the complete incoming file, which the caller keeps or discards; raises what went wrong."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._incoming is None:
                raise InvalidInstance("The data set is missing")
            incoming, self._incoming = self._incoming, None
            return incoming

    def abandon(self) -> None:
        """Delete the incoming file unless it was taken."""
        with self._lock:
            self._fail(InvalidInstance("The transfer was cut"))

    def _fail(self, error: DicomNodeError) -> None:
        self._failure = self._failure or error
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """An accepted presentation context: what may be sent in it and how."""

    abstract_syntax: str
    transfer_syntax: str


class Reception(DIMSEServiceProvider):
    """The DIMSE provider of an accepting association; C-ECHO and C-STORE requests are all that it lets through."""

    def __init__(self, association: "Association", spool: Spool) -> None:
        super().__init__(association)
        self.association_id = uuid.uuid4().hex
        self.calling_ae_title = ""
        self.peer_address = ""
        self._contexts: Mapping[int, AcceptedContext] = {}
        self._spool = spool
        self._command = bytearray()
        self._context_id: int | None = None
        self._request: tuple[C_STORE, Transfer] | None = None
        self._transfers: list[Transfer] = []
        self._instance_uids: dict[int, str] = {}  # of requests to be answered, by message id
        self._violated = False

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of one P-DATA indication; a violation of the protocol aborts the association."""
        if self._violated:
            return
        try:
            for context_id, data in primitive.presentation_data_value_list:
                self._fragment(context_id, data)
        except MalformedCommandError as error:
            self._violated = True
            LOGGER.warning("association %s aborted: %s", self.association_id, error)
            self.dul.event_queue.put("Evt19")  # unrecognized or invalid PDU (PS3.8 9.2.2): abort

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a response: one to a C-STORE request is encoded here, in fragments that the peer takes (PS3.8 E.2)."""
        if not isinstance(primitive, C_STORE):
            super().send_msg(primitive, context_id)
            return
        response = StoreResponse(
            message_id=cast("int", primitive.MessageIDBeingRespondedTo),
            sop_class_uid=str(primitive.AffectedSOPClassUID),
            sop_instance_uid=self._instance_uids.pop(cast("int", primitive.MessageIDBeingRespondedTo), ""),
            status=cast("int", primitive.Status),
            comment=str(primitive.ErrorComment or ""),
        )
        encoded = encode_response(response)
        size = max(self.maximum_pdu_size - _FRAGMENT_OVERHEAD, 1) if self.maximum_pdu_size else len(encoded)
        for start in range(0, len(encoded), size):
            control = _LAST_COMMAND_FRAGMENT if start + size >= len(encoded) else _COMMAND_FRAGMENT
            fragment = P_DATA()
            value = [context_id, bytes([control]) + encoded[start : start + size]]
            fragment.presentation_data_value_list = cast("list[tuple[int, bytes]]", [value])
            self.dul.send_pdu(fragment)

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The accepted presentation contexts by their id; known from before the peer is told."""
        if not self._contexts:
            self._contexts = {
                cast("int", context.context_id): AcceptedContext(
                    str(context.abstract_syntax), context.transfer_syntax[0]
                )
                for context in self.assoc.accepted_contexts
            }
        return self._contexts

    def close(self) -> None:
        """Delete what was received and not taken; called when the association is over."""
        for transfer in self._transfers:
            transfer.abandon()
        self._transfers.clear()

    def _fragment(self, context_id: int, data: bytes) -> None:
        if not data:
            raise MalformedCommandError("a presentation data value without its header")
        if context_id not in self.contexts or self._context_id not in {None, context_id}:
            raise MalformedCommandError("a fragment in a presentation context where none is expected")
        self._context_id = context_id
        is_command, is_last = bool(data[0] & 1), bool(data[0] & 2)
        if not is_command and self._request is not None:
            self._data(context_id, self._request, data, is_last=is_last)
            return
        if not is_command or self._request is not None:
            raise MalformedCommandError("a command inside a data set, or a data set without a command")
        self._command += memoryview(data)[1:]
        if len(self._command) > MAX_COMMAND_BYTES:
            raise MalformedCommandError("the command set is too long")
        if is_last:
            command = parse_command(bytes(self._command))
            self._command.clear()
            self._begin(context_id, command)

    def _begin(self, context_id: int, command: Command) -> None:
        """Answer to a complete command: queue an echo, or get ready for the data set of a store."""
        context = self.contexts[context_id]
        if command.field == C_ECHO_RQ and not command.has_data_set:
            echo = C_ECHO()
            echo.MessageID = command.message_id
            echo.AffectedSOPClassUID = Verification
            self._queue(context_id, echo)
            return
        if command.field != C_STORE_RQ or context.abstract_syntax not in STORAGE_CLASSES:
            raise MalformedCommandError(f"command 0x{command.field:04X} is not offered in its presentation context")
        transfer = Transfer(_refusal(command, context))
        store = C_STORE()
        store.MessageID = command.message_id
        store.AffectedSOPClassUID = context.abstract_syntax
        store.AffectedSOPInstanceUID = _ANY_INSTANCE
        store.Priority = 0
        store.DataSet = transfer
        self._instance_uids[command.message_id] = command.sop_instance_uid or ""
        if not command.has_data_set:
            self._queue(context_id, store)
            return
        self._transfers = [*self._transfers[-_MAX_WAITING_MESSAGES:], transfer]
        self._request = (store, transfer)
        if command.sop_instance_uid is not None:
            meta = FileMeta(
                sop_class_uid=context.abstract_syntax,
                sop_instance_uid=command.sop_instance_uid,
                transfer_syntax_uid=context.transfer_syntax,
                source_ae_title=self.calling_ae_title,
            )
            transfer.begin(self._spool, meta)

    def _data(self, context_id: int, store: tuple[C_STORE, Transfer], data: bytes, *, is_last: bool) -> None:
        request, transfer = store
        transfer.add(memoryview(data)[1:])
        if is_last:
            self._request = None
            self._queue(context_id, request)

    def _queue(self, context_id: int, request: C_ECHO | C_STORE) -> None:
        """Give a whole request to the association's thread."""
        self._context_id = None
        if self.msg_queue.qsize() >= _MAX_WAITING_MESSAGES:
            raise MalformedCommandError("requests are sent without waiting for responses")
        self.msg_queue.put((context_id, request))


def _refusal(command: Command, context: AcceptedContext) -> DicomNodeError | None:
    """Return why the request is refused whatever its data set holds, or None."""
    if command.sop_instance_uid is None:
        return InvalidInstance("Affected SOP Instance UID is missing or malformed")
    if command.sop_class_uid != context.abstract_syntax:
        return InstanceMismatch("SOP class is not that of the presentation context")
    return None
