"""A small PACS for the demo alone: stores the result objects that are sent to it and says what it holds."""

import hashlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from pydicom.uid import (
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node.node import AETitle, Peer

RESULT_CLASSES = (
    SegmentationStorage,
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)


class LocalPacs:
    """A storage SCP on a free loopback port that keeps each instance as one file under ``folder``."""

    def __init__(self, folder: Path, ae_title: str = "DEMOPACS") -> None:
        self._folder = folder
        self._held: dict[str, Path] = {}
        self._lock = threading.Lock()
        entity = AE(ae_title=ae_title)
        entity.add_supported_context("1.2.840.10008.1.1")  # Verification
        for sop_class in RESULT_CLASSES:
            entity.add_supported_context(sop_class)
        folder.mkdir(parents=True, exist_ok=True)
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self._server = cast("ThreadedAssociationServer", server)  # with block=False there is one
        self.peer = Peer(ae_title=AETitle(ae_title), host="127.0.0.1", port=self._server.server_address[1])

    def held(self) -> dict[str, Path]:
        """SOP Instance UID to file, of everything stored so far."""
        with self._lock:
            return dict(self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        uid = str(cast("C_STORE", event.request).AffectedSOPInstanceUID)
        path = self._folder / f"{hashlib.sha256(uid.encode()).hexdigest()[:16]}.dcm"
        path.write_bytes(event.encoded_dataset())
        with self._lock:
            self._held[uid] = path
        return 0x0000
