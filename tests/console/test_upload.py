"""Uploading in a real browser: files are chosen, their way is shown, and the page of the result comes by itself."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from model.image_predictor import ImagePredictor
from tests.console.visitor import Visitor
from tests.model.image_bundles import write_image_bundle
from tests.viewer.chromium import Chromium
from tests.worker.console_client import Console, console
from tests.worker.scripted import Workplace, workplace, write_boxes
from tests.worker.test_single_images import neck
from worker.image_analysis import ImageAnalyzer
from worker.image_files import ImageFiles
from worker.image_model import open_image_bundle
from worker.sweeps import Sweeps

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class Desk:
    """A console over an empty installation, an operator in front of it, and files to upload."""

    place: Workplace
    running: Console
    operator: Visitor
    study: Path
    image: Path


@pytest.fixture(scope="module")
def desk(browser: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The study is a zip file, the image a PNG with a hostile name."""
    folder = tmp_path_factory.mktemp("desk")
    study, image = folder / "study.zip", folder / "<img src=x onerror=alert(1)>.png"
    with zipfile.ZipFile(study, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in write_boxes(folder / "series"):
            archive.write(path, path.name)
    image.write_bytes(neck())
    bundle = write_image_bundle(folder / "bundle")
    with workplace(folder / "data") as place:
        place.settings = replace(place.settings, image_bundle_path=bundle, min_free_bytes=1, quiet_seconds=0.1)
        with console(place) as running:
            operator = Visitor.comes(browser, f"http://127.0.0.1:{running.port}")
            operator.sign_in("operator")
            yield Desk(place, running, operator, study, image)
            assert operator.complaints() == []


def test_a_study_is_uploaded_and_its_result_comes_by_itself(desk: Desk) -> None:
    operator, place = desk.operator, desk.place
    operator.follow("Upload")
    operator.arrives("Upload")
    operator.look_at("upload-form")
    operator.page.choose_files("#files", desk.study)
    operator.follow("Upload the study")
    operator.arrives("Upload 1")
    assert operator.page.shows("th", "taken in")
    assert operator.page.shows("#outcome .state", "RECEIVING")
    operator.page.run("window.loadedOnce = true")
    place.advance(seconds=1)
    Sweeps(place.database, place.settings, place.bell, place.clock).run()
    place.analyzer().analyze(*place.position())
    operator.page.wait_for("#outcome a", "Fracture detected")
    assert operator.page.run("window.loadedOnce")
    operator.look_at("upload-study")
    operator.follow("Fracture detected", within="#outcome")
    operator.arrives("Result of study 1")
    assert operator.page.shows("h2", "Fracture detected")
    assert operator.page.run("document.querySelector('figure img').naturalWidth > 0")
    operator.look_at("upload-result")


def test_a_single_image_is_uploaded_and_judged(desk: Desk) -> None:
    operator, place = desk.operator, desk.place
    operator.open("/uploads")
    operator.page.choose_files("#images", desk.image)
    operator.follow("Upload the images")
    operator.page.wait_for("#outcome a", "Single image 1")
    operator.follow("Single image 1", within="#outcome")
    operator.arrives("Single image 1")
    assert operator.page.shows("h2", "Not analyzed yet")
    predictor = ImagePredictor(open_image_bundle(place.settings))
    ImageAnalyzer(place.database, ImageFiles(place.settings.images_dir), lambda: predictor, place.clock).predict(1)
    operator.page.wait_for("strong", "Single image prediction.")
    operator.page.wait("document.querySelector('figure img')?.naturalWidth > 0", 30, "the picture of the prediction")
    operator.look_at("upload-image")


def test_a_form_without_files_says_so(desk: Desk) -> None:
    desk.operator.open("/uploads")
    desk.operator.follow("Upload the study")
    desk.operator.page.wait_for("[role=status]", "Choose a file first.")


def test_an_upload_after_signing_out_says_so(desk: Desk) -> None:
    operator = desk.operator
    late = Visitor.comes(operator.page.browser, operator.address)
    late.open("/uploads")
    late.page.choose_files("#files", desk.study)
    operator.open("/studies")
    operator.sign_out()
    late.follow("Upload the study")
    late.page.wait_for("[role=status]", "The form is out of date.")
