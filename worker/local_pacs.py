"""A small PACS for the demo alone: stores the result objects that are sent to it and says what it holds."""

import hashlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    Verification,
)

from dicom_node.node import Peer

RESULT_CLASSES = (
    SegmentationStorage,
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)


class LocalPacs:
    """A storage SCP on a free loopback port that keeps each instance as one file under ``folder``."""

    def __init__(self, folder: Path, ae_title: str = "DEMOPACS") -> None:
        self._folder = folder
        self._held: dict[str, Path] = {}
        self._lock = threading.Lock()
        entity = AE(ae_title=ae_title)
        entity.add_supported_context(Verification)
        for sop_class in RESULT_CLASSES:
            entity.add_supported_context(sop_class)
        folder.mkdir(parents=True, exist_ok=True)
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self.peer = Peer(ae_title=ae_title, host="127.0.0.1", port=self._server.server_address[1])

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
        uid = str(event.request.AffectedSOPInstanceUID)
        path = self._folder / f"{hashlib.sha256(uid.encode()).hexdigest()[:16]}.dcm"
        path.write_bytes(event.encoded_dataset())
        with self._lock:
            self._held[uid] = path
        return 0x0000
