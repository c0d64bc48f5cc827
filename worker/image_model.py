"""The image bundle that judges single images: that of CSPINE_IMAGE_BUNDLE_PATH, else the one in the package, if any."""

from pathlib import Path

from model.bundle_files import METADATA_FILE, read_metadata
from model.errors import BundleError
from model.image_bundle import (
    EMBEDDED_IMAGE_BUNDLE,
    ImageBundle,
    ImageBundleMetadata,
    load_image_bundle,
    parse_image_metadata,
)
from worker import signatures
from worker.settings import Settings
from worker.signatures import SIGNATURE_FILE, read_public_keys

_MAX_SIGNATURE_BYTES = 1024


def describe_image_bundle(settings: Settings) -> ImageBundleMetadata | None:
    """What the bundle says of itself, without reading its weights; None where there is none, or it cannot be used."""
    folder = _folder(settings)
    if folder is None:
        return None
    try:
        return parse_image_metadata(read_metadata(folder))
    except BundleError:
        return None


def open_image_bundle(settings: Settings) -> ImageBundle:
    """The bundle, every file checked, and its signature where the site asks for one.

    Raises ``BundleError``, and ``StartupError`` where the site's keys cannot be read.
    """
    folder = _folder(settings)
    if folder is None:
        raise BundleError("there is no image bundle: set CSPINE_IMAGE_BUNDLE_PATH")
    if settings.model_public_keys_file is not None and folder != EMBEDDED_IMAGE_BUNDLE:
        path = folder / SIGNATURE_FILE
        signature = path.read_bytes()[:_MAX_SIGNATURE_BYTES] if path.is_file() else None
        signatures.check(read_metadata(folder), signature, read_public_keys(settings.model_public_keys_file))
    return load_image_bundle(folder)


def _folder(settings: Settings) -> Path | None:
    folder = settings.image_bundle_path or EMBEDDED_IMAGE_BUNDLE
    there = settings.image_bundle_path is not None or (folder / METADATA_FILE).is_file()
    return folder if there else None
