"""A real viewer shows the results of the default and ohif profiles: OHIF in headless Chromium, Orthanc behind it.

What each test leaves on the screen is kept in ``build/viewer``, also when it fails.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from dicom_node.results import ResultKind
from dicom_node.segmentation import LEVEL_RGB
from model.findings import Vertebra
from tests.conftest import PROJECT
from tests.peers import orthanc, wait_until
from tests.viewer.chromium import chromium
from tests.viewer.neck_study import BROKEN, NeckStudy, write_study
from tests.viewer.ohif import OHIF, viewer_server
from tests.viewer.reader import Outline, Reader

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(600)]

SCREENSHOTS = PROJECT / "build" / "viewer"
SCREEN = (1280, 800)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> NeckStudy:
    """The study in the PACS."""
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def reader(study: NeckStudy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """One reader for all tests of this module."""
    release = OHIF.fetched()
    folder = tmp_path_factory.mktemp("viewer")
    with (
        chromium(folder / "chromium") as browser,
        orthanc(folder / "orthanc") as pacs,
        viewer_server(release, pacs) as server,
    ):
        pacs.upload_all([*study.slices, *study.results.values()])
        reader = Reader.opens(browser.open_page(*SCREEN), server.url, study.study_instance_uid)
        # a jump to a slice that is still to be loaded waits a moment, and fails if another series is opened meanwhile
        wait_until(lambda: len(server.frames) > len(study.slices), 120, "every picture of the study", 0.2)
        yield reader
        assert server.refused == []


@pytest.fixture(autouse=True)
def screenshot(reader: Reader, request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep what is on the screen after each test."""
    yield
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = request.node.name.removeprefix("test_")
    (SCREENSHOTS / f"{name}.png").write_bytes(reader.page.photograph())


def test_the_report_outlines_every_level_and_only_the_suspected_one_has_a_finding(reader, study):
    reader.open_series("Report")
    reader.page.wait_for('[data-cy^="ModalityLoadBadge"]', "SR")
    drawn: list[Outline] = []
    while {study.tracking_uids[outline.uid] for outline in drawn} != set(Vertebra):
        assert len(drawn) < 2 * len(Vertebra), "twice around, and not every level was outlined"
        drawn += reader.next_outlines()
    assert all(outline.points > 20 for outline in drawn)
    suspected = {study.tracking_uids[outline.uid]: outline.text for outline in drawn if "Certainty" in outline.text}
    assert set(suspected) == {BROKEN}
    assert "90" in suspected[BROKEN]
    assert BROKEN.name in suspected[BROKEN]
    while study.tracking_uids[drawn[-1].uid] is not BROKEN:
        drawn += reader.next_outlines()
    assert reader.complaints() == []


def test_the_narrative_can_be_read_to_its_last_sentence(reader, study):
    sentences = texts(dcmread(study.results[ResultKind.NARRATIVE]))
    assert any(BROKEN.name in sentence for sentence in sentences)
    reader.open_series("Narrative")
    reader.page.wait_for('[data-cy="viewport-pane"]', sentences[-1])
    shown = " ".join(reader.page.text().split())
    assert [sentence for sentence in sentences if " ".join(sentence.split()) not in shown] == []
    assert reader.complaints() == []


def test_the_summary_is_shown_as_it_was_drawn(reader, study):
    summary = dcmread(study.results[ResultKind.SUMMARY]).pixel_array
    reader.open_series("Summary")
    reader.page.wait_for('[data-cy="viewport-overlay-top-left"]', "Summary")
    wait_until(lambda: likeness(reader.picture(), summary) > 0.9, 60, "the summary on the screen", 0.5)
    assert reader.complaints() == []


def test_the_arrow_of_the_ohif_profile_becomes_a_measurement_of_the_viewer(reader):
    reader.close_player()
    reader.open_series("Arrows")
    assert reader.load_measurements() == [f"{BROKEN.name}: suspected fracture 90%; AI, not verified"]
    assert reader.complaints() == []


def test_the_segmentation_has_our_names_and_colors_in_the_list_and_in_the_neck(reader):
    reader.close_player()
    reader.open_series("Segmentation")
    reader.load_segmentation()
    assert reader.segments() == {level.name: "rgb({}, {}, {})".format(*LEVEL_RGB[level]) for level in Vertebra}
    reader.turn("Sagittal")
    wait_until(lambda: levels_from_above(reader.picture()) == list(Vertebra), 60, "the levels in their colors", 0.5)
    reader.set_bone_window()
    assert levels_from_above(reader.picture()) == list(Vertebra)
    assert reader.complaints() == []


def texts(item: Dataset) -> list[str]:
    """The sentences (TEXT content items) of a report, in order."""
    own = [str(item.TextValue)] if "TextValue" in item else []
    return own + [text for child in item.get("ContentSequence", []) for text in texts(child)]


def likeness(shown: np.ndarray, drawn: np.ndarray) -> float:
    """The correlation of what a viewport shows with a picture that fills its height or width; 1 is the same."""
    rows, columns = shown.shape[:2]
    scale = min(rows / drawn.shape[0], columns / drawn.shape[1])
    height, width = round(drawn.shape[0] * scale), round(drawn.shape[1] * scale)
    top, left = (rows - height) // 2, (columns - width) // 2
    expected = np.asarray(Image.fromarray(drawn).resize((width, height), Image.Resampling.BILINEAR), float)
    actual = shown[top : top + height, left : left + width].astype(float)
    if actual.std() == 0:
        return 0.0
    return float(np.corrcoef(actual.ravel(), expected.ravel())[0, 1])


def levels_from_above(picture: np.ndarray) -> list[Vertebra]:
    """The levels whose pure colors are in a picture (the viewer's outlines), sorted by the middle of their rows."""
    heights = {}
    for level, color in LEVEL_RGB.items():
        rows = np.nonzero((picture == color).all(axis=2))[0]
        if rows.size > 50:
            heights[level] = rows.mean()
    return sorted(heights, key=lambda level: heights[level])
