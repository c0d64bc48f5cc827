"""Bundles to install: the embedded one under another version, with other answers where a test asks for them."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from model.bundle import EMBEDDED_BUNDLE, METADATA_FILE


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
