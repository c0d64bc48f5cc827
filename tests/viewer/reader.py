"""What a reader does in OHIF, and what is then on the screen: series opened, segments listed, outlines drawn."""

import io
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.viewer.chromium import Page

THUMBNAIL = '[data-cy^="study-browser-thumbnail"]'
VIEWPORT = '[data-cy="viewport-pane"]'
SLICE_TEXT = '[data-cy="viewport-overlay-bottom-right"]'
TROUBLE = "Something went wrong"
OPENING_SECONDS = 120

SEGMENTS = """[...document.querySelectorAll('[data-cy="data-row"]')].map(row => [
  row.querySelector('[data-cy="data-row-title"]').innerText,
  getComputedStyle(row.querySelector('[data-cy="data-row-colorhex"]')).backgroundColor])"""
SLICE = f"document.querySelector('{SLICE_TEXT}').innerText"
OUTLINES = """(lines => [...document.querySelectorAll('svg.svg-layer g[data-annotation-uid]')].map((group, index) => [
  group.dataset.annotationUid,
  [...group.querySelectorAll('tspan')].map(line => line.textContent).join('; '),
  lines[index].points.length]))(document.querySelectorAll('svg.svg-layer polyline'))"""
LABELS = """[...document.querySelectorAll('svg.svg-layer g[data-annotation-uid]')].map(group =>
  [...group.querySelectorAll('tspan')].map(line => line.textContent).join(' ')).filter(label => label)"""
VIEWPORT_BOX = f"""(box => [box.top, box.bottom, box.left, box.right].map(Math.round))(
  document.querySelector('{VIEWPORT} canvas').getBoundingClientRect())"""


@dataclass(frozen=True)
class Outline:
    """An annotation that is drawn: its UID, the text beside it, and of how many points its outline consists."""

    uid: str
    text: str
    points: int


@dataclass
class Reader:
    """A reader in front of the viewer with one study open."""

    page: Page

    @classmethod
    def opens(cls, page: Page, url: str, study_instance_uid: str) -> "Reader":
        """Open a study, wait for its first picture and skip the guided tour that a new reader is given."""
        page.go(f"{url}/viewer?StudyInstanceUIDs={study_instance_uid}")
        page.wait_for(THUMBNAIL, seconds=OPENING_SECONDS)
        page.click("button", "Skip all", seconds=OPENING_SECONDS)
        page.wait_for(SLICE_TEXT, "(1/", seconds=OPENING_SECONDS)
        return cls(page)

    def open_series(self, description: str) -> None:
        """Open a series by its description."""
        self.page.click(THUMBNAIL, description, times=2)

    def load_segmentation(self) -> None:
        """Say yes to the viewer's question whether the segmentation is to be loaded, and list its segments."""
        self.page.click('[data-cy="yes-hydrate-btn"]', seconds=OPENING_SECONDS)
        self.page.click('[data-cy="panelSegmentation-btn"]')
        self.page.wait_for('[data-cy="data-row"]', seconds=OPENING_SECONDS)

    def load_measurements(self) -> list[str]:
        """Say yes to the question whether measurements are to be tracked; return what is written beside them."""
        self.page.click('[data-cy="yes-hydrate-btn"]', seconds=OPENING_SECONDS)
        written = (
            f"(labels => labels.length && !document.querySelector('[data-cy=\"yes-hydrate-btn\"]') && labels)({LABELS})"
        )
        return [str(label) for label in self.page.wait(written, 60, "a measurement with a label")]

    def segments(self) -> dict[str, str]:
        """The listed segments' names, each with its color as CSS writes it."""
        return {str(name): str(color) for name, color in self.page.run(SEGMENTS)}

    def turn(self, orientation: str) -> None:
        """Show the volume in another orientation."""
        self.page.click('[data-cy="orientationMenu-btn"]')
        self.page.click("button", orientation)

    def close_player(self) -> None:
        """Close the player that the viewer puts over series of the modality OT and leaves there; the key C does."""
        if self.page.shows("span", "FPS"):
            self.page.press("c")

    def set_bone_window(self) -> None:
        """Choose the viewer's preset for bone, which has the key 4."""
        self.page.press("4")
        self.page.wait_for('[data-cy="viewport-overlay-bottom-left"]', "2500")

    def next_outlines(self) -> list[Outline]:
        """Go to the slice of the report's next measurement and return what is outlined there, once it is drawn."""
        before = json.dumps(self.page.run(f"[{SLICE}, {OUTLINES}]"))
        self.page.click('[data-cy="viewport-action-arrows-right"]')
        moved = "slice !== before && outlines.length && JSON.stringify(outlines) !== JSON.stringify(others) && outlines"
        script = f"(([slice, outlines], [before, others]) => {moved})([{SLICE}, {OUTLINES}], {before})"
        drawn = self.page.wait(script, 60, "an outline on another slice")
        return [Outline(str(uid), str(text), int(points)) for uid, text, points in drawn]

    def picture(self) -> NDArray[np.uint8]:
        """What the viewport shows, RGB (row, column, color)."""
        top, bottom, left, right = self.page.run(VIEWPORT_BOX)
        with Image.open(io.BytesIO(self.page.photograph())) as screen:
            return np.asarray(screen.convert("RGB"))[top:bottom, left:right]

    def complaints(self) -> list[str]:
        """Uncaught errors of the viewer, errors in its console, and its own admission that something went wrong."""
        errors = [line for line in self.page.console if line.startswith("error:") or TROUBLE in line]
        return self.page.errors + errors + ([TROUBLE] if TROUBLE in self.page.text() else [])
