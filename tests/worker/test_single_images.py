"""Single images: uploaded, judged by the real network in the task's body, shown for a while, and deleted."""

import io
import os
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from sqlalchemy import select

from dicom_node.errors import ReadingAborted
from dicom_node.spool import Spool
from model.errors import BundleError, UnusableImage
from model.image_predictor import ImagePredictor
from tests.model.image_bundles import write_image_bundle
from tests.worker.scripted import workplace
from worker import image_queue
from worker.console_records import Mode
from worker.image_analysis import ImageAnalyzer
from worker.image_files import ImageFiles
from worker.image_model import describe_image_bundle, open_image_bundle
from worker.image_sweep import ImageSweep
from worker.image_uploads import MAX_BYTES, MAX_IMAGES, ImageUpload
from worker.operation import change_mode
from worker.picture_reading import read_picture
from worker.ports import BellUnavailable
from worker.settings import Settings
from worker.signatures import make_key
from worker.upload_records import ImageKind, ImageState, SingleImage, Upload
from worker.uploads import Fate, Stop


class Rings:
    """A bell for images that notes who rang, or does not answer."""

    def __init__(self):
        self.images = []
        self.answers = True

    def ring_image(self, image_id):
        if not self.answers:
            raise BellUnavailable
        self.images.append(image_id)


@pytest.fixture(scope="session")
def image_bundle(tmp_path_factory):
    return write_image_bundle(tmp_path_factory.mktemp("image-bundle"))


@pytest.fixture(scope="session")
def predictor(image_bundle):
    return ImagePredictor(open_image_bundle(Settings(image_bundle_path=image_bundle)))


@pytest.fixture
def empty(tmp_path):
    with workplace(tmp_path / "data") as made:
        yield made


def neck() -> bytes:
    """A PNG with something like a vertebra."""
    rows, columns = np.indices((150, 130))
    near = np.hypot(rows - 75, columns - 65)
    gray = (np.where(near < 50, 80, 0) + np.where(near < 15, 120, 0)).astype(np.uint8)
    target = io.BytesIO()
    Image.fromarray(gray).save(target, "PNG")
    return target.getvalue()


def take(place, *files):
    spool = Spool(place.settings.spool_dir, min_free_bytes=1)
    return ImageUpload(ImageFiles(place.settings.images_dir), spool).take(io.BytesIO(file) for file in files)


def add(place, *files) -> list[int]:
    """Upload images; return their keys."""
    taken = take(place, *files)
    with place.database.transaction() as session:
        upload = Upload(at=place.clock(), by="operator", fates={}, images=taken.images)
        for image in taken.images:
            image.received_at = place.clock()
        session.add(upload)
        session.flush()
        return [image.id for image in taken.images]


def analyzer(place, judge) -> ImageAnalyzer:
    return ImageAnalyzer(place.database, ImageFiles(place.settings.images_dir), judge, place.clock)


def image_of(place, image_id) -> SingleImage:
    with place.database.reading() as session:
        return session.get_one(SingleImage, image_id)


def kept(place) -> set[str]:
    return {path.name for path in place.settings.images_dir.iterdir()}


def a_slice(folder) -> bytes:
    return (sorted(folder.iterdir())[20]).read_bytes()


@pytest.mark.parametrize("kind", [ImageKind.PICTURE, ImageKind.SLICE])
def test_a_single_image_reaches_its_prediction(empty, boxes_folder, predictor, kind):
    (key,) = add(empty, neck() if kind is ImageKind.PICTURE else a_slice(boxes_folder))
    assert (image_of(empty, key).kind, image_of(empty, key).state) == (kind, ImageState.WAITING)
    analyzer(empty, lambda: predictor).predict(key)
    image = image_of(empty, key)
    assert (image.state, image.file, image.failure, image.bundle_name) == (ImageState.PREDICTED, None, None, "tiny")
    assert image.bundle_sha256 == predictor.bundle.sha256
    assert sum(level["probability"] for level in image.findings["levels"]) == pytest.approx(1, abs=1e-3)
    codes = {one["code"] for one in image.findings["limitations"]}
    assert "SINGLE_IMAGE" in codes
    assert ("NOT_HU" in codes) == (kind is ImageKind.PICTURE)
    assert kept(empty) == {image.overlay}
    with Image.open(ImageFiles(empty.settings.images_dir).path(image.overlay)) as overlay:
        assert overlay.format == "PNG"


def test_an_image_is_judged_once(empty, predictor):
    (key,) = add(empty, neck())
    body = analyzer(empty, lambda: predictor)
    body.predict(key)
    first = image_of(empty, key)
    body.predict(key)
    body.predict(key + 1)
    assert (image_of(empty, key).tries, image_of(empty, key).overlay) == (1, first.overlay)


def broken(content: bytes) -> bytes:
    return content[: len(content) // 2]


def colored_blank() -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (100, 100)).save(target, "PNG")
    return target.getvalue()


@pytest.mark.parametrize(
    ("make", "why"),
    [(lambda: broken(neck()), "damaged"), (colored_blank, "background")],
)
def test_an_image_without_a_prediction_says_why(empty, predictor, make, why):
    (key,) = add(empty, make())
    analyzer(empty, lambda: predictor).predict(key)
    image = image_of(empty, key)
    assert image.state is ImageState.FAILED
    assert why in image.failure
    assert kept(empty) == set()


def test_a_slice_that_cannot_be_decoded_says_why(empty, boxes_folder, predictor):
    (key,) = add(empty, a_slice(boxes_folder)[:-5000])
    analyzer(empty, lambda: predictor).predict(key)
    assert image_of(empty, key).state is ImageState.FAILED
    assert image_of(empty, key).failure
    assert kept(empty) == set()


def test_a_crash_ends_the_image_not_the_worker(empty):
    def judge():
        raise ZeroDivisionError

    (key,) = add(empty, neck())
    analyzer(empty, judge).predict(key)
    assert image_of(empty, key).failure == "the prediction crashed with ZeroDivisionError"


def test_a_late_answer_of_a_worker_that_was_given_up_is_dropped(empty, predictor):
    (key,) = add(empty, neck())

    def judge():
        empty.advance(seconds=2000)
        with empty.database.transaction() as session:
            image_queue.expire(session, empty.clock())
        return predictor

    analyzer(empty, judge).predict(key)
    image = image_of(empty, key)
    assert (image.state, image.findings) == (ImageState.WAITING, None)
    assert kept(empty) == {image.file}


def test_images_that_end_their_worker_are_given_up(empty):
    (key,) = add(empty, neck())
    for attempt in range(1, image_queue.MAX_TRIES + 1):
        with empty.database.transaction() as session:
            mine = image_queue.claim(session, key, empty.clock())
            assert mine.attempt == attempt
            assert image_queue.claim(session, key, empty.clock()) is None
        empty.advance(seconds=2000)
        with empty.database.transaction() as session:
            image_queue.expire(session, empty.clock())
    assert (image_of(empty, key).state, image_of(empty, key).failure) == (ImageState.FAILED, image_queue.DIED)


def test_what_is_no_image_is_counted(empty, boxes_folder):
    report = dcmread(io.BytesIO(a_slice(boxes_folder)))
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    other = io.BytesIO()
    report.save_as(other, enforce_file_format=True)
    taken = take(empty, neck(), b"", b"GIF89a", b"PK\x03\x04", other.getvalue(), bytes(128) + b"DICM")
    assert taken.outcome.fates == Counter({Fate.TAKEN: 1, Fate.NO_IMAGE: 4})
    assert len(kept(empty)) == 1


def test_an_image_that_is_too_large_is_not_kept(empty):
    taken = take(empty, neck() + bytes(MAX_BYTES))
    assert (taken.outcome.fates, taken.images) == ({Fate.TOO_LARGE: 1}, [])
    assert kept(empty) == set()


def test_an_upload_has_a_bounded_number_of_images(empty):
    taken = take(empty, *[neck()] * (MAX_IMAGES + 1))
    assert (len(taken.images), taken.outcome.stop) == (MAX_IMAGES, Stop.TOO_MANY_IMAGES)


def test_no_image_is_taken_on_a_full_disk(empty):
    upload = ImageUpload(ImageFiles(empty.settings.images_dir), Spool(empty.settings.spool_dir, min_free_bytes=1 << 60))
    taken = upload.take([io.BytesIO(neck())])
    assert (taken.images, taken.outcome.stop) == ([], Stop.OUT_OF_SPACE)


def sweep_of(place, rings) -> ImageSweep:
    def clock():
        return place.clock()  # that of the moment: tests move it

    return ImageSweep(place.database, place.settings, rings, clock)


def test_images_that_wait_are_rung_for_until_somebody_takes_them(empty, predictor):
    first, second = add(empty, neck(), neck())
    rings = Rings()
    sweep = sweep_of(empty, rings)
    rings.answers = False
    sweep.run()
    rings.answers = True
    sweep.run()
    sweep.run()
    assert rings.images == [first, second]
    empty.advance(seconds=empty.settings.ring_again_seconds)
    analyzer(empty, lambda: predictor).predict(first)
    sweep.run()
    assert rings.images == [first, second, second]


def test_nothing_is_begun_while_the_work_is_paused(empty, predictor):
    (key,) = add(empty, neck())
    with empty.database.transaction() as session:
        change_mode(session, Mode.PAUSED, empty.clock(), "operator")
    rings = Rings()
    sweep_of(empty, rings).run()
    analyzer(empty, lambda: predictor).predict(key)
    assert (rings.images, image_of(empty, key).state) == ([], ImageState.WAITING)


def test_old_images_and_their_pictures_are_deleted(empty, predictor):
    old, unjudged = add(empty, neck(), neck())
    analyzer(empty, lambda: predictor).predict(old)
    empty.advance(seconds=timedelta(days=29).total_seconds())
    (young,) = add(empty, neck())
    empty.advance(seconds=timedelta(days=2).total_seconds())
    sweep_of(empty, Rings()).run()
    with empty.database.reading() as session:
        assert session.scalars(select(SingleImage.id)).all() == [young]
    assert kept(empty) == {image_of(empty, young).file}
    assert unjudged != young


def test_files_that_no_row_knows_are_deleted_after_a_day(empty):
    (key,) = add(empty, neck())
    orphan, fresh = take(empty, neck(), neck()).images
    day_ago = empty.clock().timestamp() - 90_000
    for name in (orphan.file, image_of(empty, key).file):
        os.utime(empty.settings.images_dir / name, (day_ago, day_ago))
    sweep_of(empty, Rings()).run()
    assert kept(empty) == {fresh.file, image_of(empty, key).file}


def test_a_picture_is_decoded_by_another_process(tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(neck())
    picture = read_picture(path)
    assert (picture.gray.shape, picture.gray.dtype, picture.from_hu) == ((150, 130), np.float32, False)
    path.write_bytes(b"no picture")
    with pytest.raises(UnusableImage, match="no JPEG or PNG"):
        read_picture(path)


def test_a_decoder_that_takes_too_much_memory_is_refused_it(tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(neck())
    with pytest.raises((UnusableImage, ReadingAborted)):
        read_picture(path, address_space_bytes=1 << 20)


def test_the_image_bundle_is_that_of_the_settings(image_bundle, tmp_path):
    assert describe_image_bundle(Settings(image_bundle_path=image_bundle)).name == "tiny"
    assert describe_image_bundle(Settings(image_bundle_path=tmp_path)) is None
    with pytest.raises(BundleError):
        open_image_bundle(Settings(image_bundle_path=tmp_path))


def test_an_unsigned_image_bundle_is_refused_where_signatures_are_asked_for(image_bundle, tmp_path):
    keys = make_key(tmp_path / "key")
    with pytest.raises(BundleError, match=r"metadata\.json\.sig"):
        open_image_bundle(Settings(image_bundle_path=image_bundle, model_public_keys_file=keys))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "0" * 31, "G" * 32])
def test_the_image_store_knows_its_own_names_alone(tmp_path, name):
    with pytest.raises(ValueError, match="not a name"):
        ImageFiles(tmp_path).path(name)
