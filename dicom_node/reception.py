"""Received requests of one association: commands checked, data sets streamed into the spool (PS3.7 6.3, PS3.8 E)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from dicom_node.command import (
    C_ECHO_RQ,
    C_STORE_RQ,
    N_EVENT_REPORT_RQ,
    Command,
    MalformedCommandError,
    StoreResponse,
    encode_response,
)
from dicom_node.commitment_report import STORAGE_COMMITMENT, event_report
from dicom_node.errors import DicomNodeError, InstanceMismatch, InvalidInstance
from dicom_node.fragments import Message, MessageAssembly
from dicom_node.node import deterministic_uid
from dicom_node.part10 import FileMeta
from dicom_node.spool import Spool
from dicom_node.transfer import Transfer
from dicom_node.transfer_syntaxes import RETURNED_CLASSES, REVIEW_CLASSES, STORAGE_CLASSES

if TYPE_CHECKING:
    from pynetdicom.association import Association

_ANY_INSTANCE = deterministic_uid("stands for the SOP Instance UID where pydicom would look at it")
_COMMAND_FRAGMENT, _LAST_COMMAND_FRAGMENT = 1, 3
_RECEIVED_CLASSES = frozenset({*STORAGE_CLASSES, *REVIEW_CLASSES, *RETURNED_CLASSES})
_FRAGMENT_OVERHEAD = 6  # length, context id and control header of a presentation data value
_MAX_WAITING_MESSAGES = 4  # asynchronous operations are not negotiated: an honest peer has one outstanding


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """An accepted presentation context: what may be sent in it and how."""

    abstract_syntax: str
    transfer_syntax: str


class Reception(MessageAssembly):
    """The DIMSE provider of an accepting association.

    Verification, instances, and reports of storage commitment are all that it lets through.
    """

    def __init__(self, association: "Association", spool: Spool) -> None:
        super().__init__(association)
        self.calling_ae_title = ""
        self.peer_address = ""
        self._contexts: Mapping[int, AcceptedContext] = {}
        self._spool = spool
        self._transfers: list[Transfer] = []
        self._instance_uids: dict[int, str] = {}  # of requests to be answered, by message id

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

    def is_expected(self, context_id: int) -> bool:
        """Return whether this presentation context was accepted."""
        return context_id in self.contexts

    def begin(self, context_id: int, command: Command) -> Message:
        """Answer to a complete command: open an echo, a store or a report."""
        context = self.contexts[context_id]
        if command.field == C_ECHO_RQ:
            echo = C_ECHO()
            echo.MessageID = command.message_id
            echo.AffectedSOPClassUID = Verification
            return Message(echo)
        if command.field == C_STORE_RQ and context.abstract_syntax in _RECEIVED_CLASSES:
            return self._store(command, context)
        if command.field == N_EVENT_REPORT_RQ and context.abstract_syntax == STORAGE_COMMITMENT:
            return event_report(command)
        raise MalformedCommandError(f"command 0x{command.field:04X} is not offered in its presentation context")

    def complete(self, context_id: int, message: Message) -> None:
        """Give a whole request to the association's thread."""
        if self.msg_queue.qsize() >= _MAX_WAITING_MESSAGES:
            raise MalformedCommandError("requests are sent without waiting for responses")
        self.msg_queue.put((context_id, message.primitive))

    def _store(self, command: Command, context: AcceptedContext) -> Message:
        """Open a store: its data set goes to the spool unless the command itself is refused."""
        transfer = Transfer(_refusal(command, context))
        store = C_STORE()
        store.MessageID = command.message_id
        store.AffectedSOPClassUID = context.abstract_syntax
        store.AffectedSOPInstanceUID = _ANY_INSTANCE
        store.Priority = 0
        store.DataSet = transfer
        self._instance_uids[command.message_id] = command.sop_instance_uid or ""
        if command.has_data_set:
            self._transfers = [*self._transfers[-_MAX_WAITING_MESSAGES:], transfer]
            if command.sop_instance_uid is not None:
                meta = FileMeta(
                    sop_class_uid=context.abstract_syntax,
                    sop_instance_uid=command.sop_instance_uid,
                    transfer_syntax_uid=context.transfer_syntax,
                    source_ae_title=self.calling_ae_title,
                )
                transfer.begin(self._spool, meta)
        return Message(store, transfer)


def _refusal(command: Command, context: AcceptedContext) -> DicomNodeError | None:
    """Return why the request is refused whatever its data set holds, or None."""
    if command.sop_instance_uid is None:
        return InvalidInstance("Affected SOP Instance UID is missing or malformed")
    if command.sop_class_uid != context.abstract_syntax:
        return InstanceMismatch("SOP class is not that of the presentation context")
    return None
