"""Summary pictures of results for browsers: the pixels of a stored Secondary Capture as PNG, without its header."""

import threading
from collections import OrderedDict
from io import BytesIO

from PIL import Image
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from worker.storage import ResultCorrupt, ResultStore

_KEPT = 32


class Pictures:
    """Makes pictures, and keeps the last few: drawing one again for everybody who looks costs a tenth of a second."""

    def __init__(self, results: ResultStore) -> None:
        self._results = results
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def png(self, path: str, sha256: str) -> bytes:
        """The picture of a stored result; raises ``ResultCorrupt`` where that is missing, changed, or no picture."""
        with self._lock:
            if sha256 in self._kept:
                self._kept.move_to_end(sha256)
                return self._kept[sha256]
        made = _png(self._results.get(path, sha256))
        with self._lock:
            self._kept[sha256] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made


def _png(data: bytes) -> bytes:
    dataset = dcmread(BytesIO(data))
    if dataset.SOPClassUID != SecondaryCaptureImageStorage:
        raise ResultCorrupt("a stored result is no picture")
    target = BytesIO()
    Image.fromarray(dataset.pixel_array).save(target, "PNG", compress_level=1)
    return target.getvalue()
