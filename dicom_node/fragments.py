"""DIMSE messages put together from the fragments of an association, within bounds (PS3.7 6.3, PS3.8 E).

Takes the place of pynetdicom's DIMSE decoding: that one keeps whole data sets in memory, or writes them to a folder of
its own choice, and ends in an exception where a command is malformed.
"""

import logging
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.command import MAX_COMMAND_BYTES, Command, MalformedCommandError, parse_command

if TYPE_CHECKING:
    from pynetdicom.association import Association

LOGGER = logging.getLogger(__name__)


class DataSetSink(Protocol):
    """Where the fragments of a data set go."""

    def add(self, data: memoryview) -> None:
        """Take the next bytes; must not keep more of them than its own bound."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """A message that its command has opened: pynetdicom's primitive, and where its data set goes if it may have one."""

    primitive: Any
    data_set: DataSetSink | None = None


class MessageAssembly(DIMSEServiceProvider):
    """The DIMSE provider of an association, fed by its DUL thread; a violation of the protocol aborts the association.

    ``association_id`` is unique to the association (never the peer's words).
    """

    def __init__(self, association: "Association") -> None:
        super().__init__(association)
        self.association_id = uuid.uuid4().hex
        self._command = bytearray()
        self._context_id: int | None = None
        self._message: Message | None = None
        self._violated = False

    def is_expected(self, context_id: int) -> bool:
        """Return whether messages may come in this presentation context."""
        raise NotImplementedError

    def begin(self, context_id: int, command: Command) -> Message:
        """Return the message that a whole command opens; raises ``MalformedCommandError`` when it may not come."""
        raise NotImplementedError

    def complete(self, context_id: int, message: Message) -> None:
        """Take a whole message; raises ``MalformedCommandError`` when there are too many."""
        raise NotImplementedError

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of one P-DATA indication."""
        if self._violated:
            return
        try:
            for context_id, data in primitive.presentation_data_value_list:
                self._fragment(context_id, data)
        except MalformedCommandError as error:
            self._violated = True
            LOGGER.warning("association %s aborted: %s", self.association_id, error)
            self.dul.event_queue.put("Evt19")  # unrecognized or invalid PDU (PS3.8 9.2.2): abort
            self.msg_queue.put((None, None))  # wakes whoever waits for a message, as pynetdicom does on other aborts

    def _fragment(self, context_id: int, data: bytes) -> None:
        if not data:
            raise MalformedCommandError("a presentation data value without its header")
        if not self.is_expected(context_id) or self._context_id not in {None, context_id}:
            raise MalformedCommandError("a fragment in a presentation context where none is expected")
        self._context_id = context_id
        is_command, is_last = bool(data[0] & 1), bool(data[0] & 2)
        if not is_command and self._message is not None:
            self._data(context_id, self._message, data, is_last=is_last)
            return
        if not is_command or self._message is not None:
            raise MalformedCommandError("a command inside a data set, or a data set without a command")
        self._command += memoryview(data)[1:]
        if len(self._command) > MAX_COMMAND_BYTES:
            raise MalformedCommandError("the command set is too long")
        if is_last:
            command = parse_command(bytes(self._command))
            self._command.clear()
            self._begin(context_id, command)

    def _begin(self, context_id: int, command: Command) -> None:
        message = self.begin(context_id, command)
        if not command.has_data_set:
            self._complete(context_id, message)
        elif message.data_set is None:
            raise MalformedCommandError(f"command 0x{command.field:04X} has a data set")
        else:
            self._message = message

    def _data(self, context_id: int, message: Message, data: bytes, *, is_last: bool) -> None:
        if message.data_set is not None:
            message.data_set.add(memoryview(data)[1:])
        if is_last:
            self._message = None
            self._complete(context_id, message)

    def _complete(self, context_id: int, message: Message) -> None:
        self._context_id = None
        self.complete(context_id, message)
