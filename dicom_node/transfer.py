"""The data set of one C-STORE request on its way from the association into the spool (PS3.7 9.1.1)."""

import threading
from io import BytesIO

from dicom_node.errors import DicomNodeError, InvalidInstance, OutOfResources
from dicom_node.incoming import IncomingFile
from dicom_node.part10 import FileMeta
from dicom_node.spool import Spool


class Transfer(BytesIO):
    """A data set that goes to the spool while it comes; looks like the buffer that pynetdicom expects.

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
