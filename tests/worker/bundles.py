"""Bundles to install: the embedded one under another version, with other answers where a test asks for them."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_node.reading import ReadingLimits
from model.bundle import EMBEDDED_BUNDLE, METADATA_FILE, Bundle
from tests.worker.scripted import ReadsTheBoxes, Workplace
from worker import model_choice
from worker.devices import device_of
from worker.loaded_models import LoadedModels
from worker.model_choice import Actor, chosen
from worker.model_store import ModelStore
from worker.pipeline import AnalysisTools, VolumePredictor
from worker.records import ModelRole
from worker.shadow import ShadowAnalyzer

ACTOR = Actor("operator", datetime(2026, 3, 1, tzinfo=UTC))


def write_bundle(folder: Path, version: str = "second", **changes: Any) -> Path:
    """A whole bundle with the weights of the embedded one; ``changes`` replace entries of its description."""
    shutil.copytree(EMBEDDED_BUNDLE, folder)
    describe(folder, version=version, **changes)
    return folder


def describe(folder: Path, **changes: Any) -> None:
    """Replace entries of a description."""
    document = json.loads((folder / METADATA_FILE).read_text())
    (folder / METADATA_FILE).write_text(json.dumps(document | changes))


def section(name: str, **changes: Any) -> dict[str, Any]:
    """A section of the embedded bundle's description with some values changed."""
    changed: dict[str, Any] = json.loads((EMBEDDED_BUNDLE / METADATA_FILE).read_text())[name]
    return changed | changes


def zipped(folder: Path, archive: Path, inside: str = "") -> Path:
    """The files of a folder as a zip file."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.iterdir()):
            file.write(path, inside + path.name)
    return archive


@dataclass
class Models:
    """The models of a workplace: real bundles in a real store, and a scripted network for each version.

    ``networks`` has those that differ from the one that reads the boxes; ``built`` lists the versions that were loaded.
    """

    place: Workplace
    networks: dict[str, Callable[[Callable[[], None]], VolumePredictor]] = field(default_factory=dict)
    built: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loaded = LoadedModels(self.place.settings, self.place.database, self._build, self._now)

    def _now(self) -> datetime:
        return self.place.clock()

    def _build(self, bundle: Bundle, before_batch: Callable[[], None]) -> AnalysisTools:
        self.built.append(bundle.version)
        make = self.networks.get(bundle.version, lambda _: ReadsTheBoxes())
        network = make(before_batch)
        return AnalysisTools(network, bundle, device_of(self.place.settings), ReadingLimits(), self.place.clock)

    def install(self, version: str) -> str:
        """Install a bundle of this version; return its SHA-256."""
        folder = write_bundle(self.place.settings.data_dir.parent / f"bundle-{version}", version)
        return ModelStore.of(self.place.settings).install(folder).bundle.sha256

    def promote(self, sha256: str | None) -> None:
        """Let it serve, in another process for all that the worker knows."""
        with self.place.database.transaction() as session:
            model_choice.promote(session, chosen(session, ModelRole.SERVING), sha256, ACTOR)

    def look_on(self, sha256: str | None) -> None:
        """Make it the shadow, or have none."""
        with self.place.database.transaction() as session:
            before = chosen(session, ModelRole.SHADOW)
            if sha256 is None:
                model_choice.end_shadow(session, before, ACTOR)
            else:
                model_choice.start_shadow(session, before, sha256, ACTOR)

    def shadow(self) -> ShadowAnalyzer:
        """The body of the shadow's task."""
        return ShadowAnalyzer(self.place.settings, self.place.database, self.loaded, self._now)
