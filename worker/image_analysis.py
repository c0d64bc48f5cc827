"""One single image to its prediction: claim, decode in a limited process, judge, keep - the body of a task."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import DicomNodeError, UnusableSeries
from dicom_node.slices import read_slices
from model.errors import ModelError
from model.image_bundle import ImageBundle
from model.image_decoding import Picture
from model.image_preprocess import bone_window
from worker import image_queue
from worker.database import Database
from worker.errors import StartupError
from worker.image_files import ImageFiles
from worker.image_queue import ImageClaim
from worker.picture_reading import read_picture
from worker.ports import Clock
from worker.upload_records import ImageKind, ImageState

if TYPE_CHECKING:
    from model.image_predictor import ImagePrediction

logger = logging.getLogger(__name__)


class ImageJudge(Protocol):
    """An image network in memory, such as ``model.image_predictor.ImagePredictor``."""

    bundle: ImageBundle

    def predict_image(self, image: Picture) -> "ImagePrediction":
        """The answer for a picture; raises ``ModelError``."""

    def predict_slice(self, hu: NDArray[np.int16]) -> "ImagePrediction":
        """The answer for a CT slice in HU; raises ``ModelError``."""


@dataclass(frozen=True, slots=True)
class ImageAnalyzer:
    """What the predictions of one GPU worker share; ``judge`` loads the network when it is first needed."""

    database: Database
    files: ImageFiles
    judge: Callable[[], ImageJudge]
    clock: Clock

    def predict(self, image_id: int) -> None:
        """Judge an image that waits; does nothing where it does not. Whatever comes of it, its file is deleted."""
        with self.database.transaction() as session:
            mine = image_queue.claim(session, image_id, self.clock())
        if mine is None:
            return
        try:
            values = self._answer(mine)
        except (ModelError, DicomNodeError, StartupError) as error:
            self._failed(mine, str(error))
        except OSError as error:
            self._failed(mine, f"files cannot be read or written ({error.strerror})")
        except Exception as error:  # the boundary of one image: nothing that it does may end the worker
            logger.exception("the prediction crashed", extra={"image_id": image_id})
            self._failed(mine, f"the prediction crashed with {type(error).__name__}")
        else:
            self._conclude(mine, ImageState.PREDICTED, **values)

    def _answer(self, mine: ImageClaim) -> dict[str, Any]:
        """The columns that hold the prediction."""
        from model.image_overlay import overlay_png  # noqa: PLC0415  (Keras is near)

        judge = self.judge()
        path = self.files.path(mine.file)
        if mine.kind is ImageKind.SLICE:
            hu = _slice(path)
            picture, prediction = Picture(bone_window(hu), from_hu=True), judge.predict_slice(hu)
        else:
            picture = read_picture(path)
            prediction = judge.predict_image(picture)
        return {
            "overlay": self.files.keep([overlay_png(picture, prediction)]),
            "findings": prediction.findings.as_json(),
            "seconds": prediction.seconds,
            "bundle_name": judge.bundle.name[:64],
            "bundle_version": judge.bundle.version[:32],
            "bundle_sha256": judge.bundle.sha256,
        }

    def _failed(self, mine: ImageClaim, why: str) -> None:
        self._conclude(mine, ImageState.FAILED, failure=why)

    def _conclude(self, mine: ImageClaim, state: ImageState, **values: Any) -> None:
        """Record the end; the image itself is of no more use."""
        with self.database.transaction() as session:
            held = image_queue.conclude(session, mine, state, file=None, finished_at=self.clock(), **values)
        self.files.remove(mine.file if held else values.get("overlay"))


def _slice(path: Path) -> NDArray[np.int16]:
    """HU of a CT slice, decoded by a process of its own."""
    found = read_slices([path])[0]
    if isinstance(found, UnusableSeries):
        raise found
    return found
