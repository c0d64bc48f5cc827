"""What comes back on an association that this node requested: responses and reports, within bounds (PS3.7 9, 10)."""

import queue
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_STORE, N_ACTION, N_EVENT_REPORT

from dicom_node.command import (
    C_ECHO_RSP,
    C_FIND_RSP,
    C_STORE_RSP,
    N_ACTION_RSP,
    N_EVENT_REPORT_RQ,
    Command,
    MalformedCommandError,
)
from dicom_node.commitment_report import STORAGE_COMMITMENT, event_report
from dicom_node.fragments import Message, MessageAssembly

if TYPE_CHECKING:
    from pynetdicom.association import Association

MAX_ANSWER_BYTES = 64 * 1024
"""The data set of a response: the attributes of one study or instance take about 500 bytes."""
MAX_WAITING_RESPONSES = 1000
"""Responses that came and were not taken yet."""

_MAX_WAITING_REPORTS = 8
_POLL_SECONDS = 0.05
_RESPONSES = {C_STORE_RSP: C_STORE, C_ECHO_RSP: C_ECHO, C_FIND_RSP: C_FIND, N_ACTION_RSP: N_ACTION}


class AnswerData(BytesIO):
    """The data set of a response, in memory within its bound."""

    def add(self, data: memoryview) -> None:
        """Append bytes; raises ``MalformedCommandError`` where they are too many."""
        if self.tell() + len(data) > MAX_ANSWER_BYTES:
            raise MalformedCommandError("the data set of a response is too long")
        self.write(data)


class Responses(MessageAssembly):
    """The DIMSE provider of a requesting association: responses go to whoever waits for them, and to nobody else.

    pynetdicom 3.0.4 polls the same queue from the association's own thread, which it means to pause during a request;
    where that thread is preempted between its two checks, it takes the response away and the request times out. That
    thread polls without blocking, so it is told that there is nothing. The only requests that a peer may send on such
    an association are reports of storage commitment, where that was proposed; they have a queue of their own, and are
    read and answered by the requesting thread. pynetdicom would serve them in a thread of their own, which it may let
    wait without end for the association's.
    """

    def __init__(self, association: "Association") -> None:
        super().__init__(association)
        self._reports: queue.Queue[tuple[int, N_EVENT_REPORT]] = queue.Queue(_MAX_WAITING_REPORTS)

    def get_msg(self, block: bool = False) -> Any:  # noqa: FBT001, FBT002  (pynetdicom's signature)
        """Return (context id, message) for a blocking call, or (None, None) after the DIMSE timeout."""
        return super().get_msg(block) if block else (None, None)

    def next_report(self, seconds: float) -> tuple[int, N_EVENT_REPORT] | None:
        """Return the context id and the next report, None when none comes or the association ends before."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self._reports.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if time.monotonic() >= deadline or not self.assoc.is_established:
                    return None

    def is_expected(self, context_id: int) -> bool:
        """Return whether this may be a context of ours; a report can come before we know which were accepted."""
        return context_id % 2 == 1

    def begin(self, context_id: int, command: Command) -> Message:  # noqa: ARG002  (the acceptor's needs it)
        """Open a response or a report."""
        if command.field == N_EVENT_REPORT_RQ and self._asked_for_commitment():
            return event_report(command)
        kind = _RESPONSES.get(command.field)
        if kind is None:
            raise MalformedCommandError(f"command 0x{command.field:04X} was not asked for")
        response, data = kind(), AnswerData()
        response.MessageIDBeingRespondedTo = command.message_id
        response.Status = command.status
        if isinstance(response, C_FIND):
            response.Identifier = data
        return Message(response, data)

    def complete(self, context_id: int, message: Message) -> None:
        """Give a whole message to whoever waits for it."""
        if isinstance(message.primitive, N_EVENT_REPORT):
            try:
                self._reports.put_nowait((context_id, message.primitive))
            except queue.Full:
                raise MalformedCommandError("reports are sent without waiting for responses") from None
        elif self.msg_queue.qsize() >= MAX_WAITING_RESPONSES:
            raise MalformedCommandError("responses are sent faster than they are taken")
        else:
            self.msg_queue.put((context_id, message.primitive))

    def _asked_for_commitment(self) -> bool:
        return any(context.abstract_syntax == STORAGE_COMMITMENT for context in self.assoc.requestor.requested_contexts)
