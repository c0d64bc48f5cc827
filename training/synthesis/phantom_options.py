"""Everything that may differ between two DICOM series of the same synthetic voxels."""

import uuid
from dataclasses import dataclass, field
from enum import StrEnum

from pydicom.uid import UID, generate_uid

from training.synthesis.phantom_encoding import TransferSyntax

NAMESPACE = uuid.UUID("6d1c1cd4-6f33-5d9e-8a8e-0b1f1a3f7c55")
STANDARD_ORIENTATION = "FPL"


class SliceOrder(StrEnum):
    """How InstanceNumber and file names run through the slices."""

    POSITION = "position"
    REVERSED = "reversed"
    SHUFFLED = "shuffled"


class SeriesForm(StrEnum):
    """One CT instance a slice, or one multi-frame instance for all."""

    SINGLE_FRAME = "single-frame"
    ENHANCED = "enhanced"
    LEGACY_CONVERTED = "legacy-converted"


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the slices lie.

    ``orientation`` names the directions in which slice, row and column index grow (any of the 48 signed axis orders);
    ``oblique_degrees`` turns the grid about the patient's L, P and H axes; ``gantry_tilt_degrees`` tilts the planes
    about their row direction while the table direction stays; ``missing_slices`` are indices left out on writing.
    """

    orientation: str = STANDARD_ORIENTATION
    oblique_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gantry_tilt_degrees: float = 0.0
    position_mm: tuple[float, float, float] = (-120.0, -150.0, 80.0)
    slice_thickness_mm: float | None = None
    missing_slices: frozenset[int] = frozenset()
    order: SliceOrder = SliceOrder.SHUFFLED


@dataclass(frozen=True, slots=True)
class Encoding:
    """How voxels become stored values; HU outside the representable range are clipped."""

    transfer_syntax: TransferSyntax = TransferSyntax.EXPLICIT_LE
    bits_stored: int = 12
    signed: bool = False
    rescale_intercept: float = -1024.0
    rescale_slope: float = 1.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Names of patient, study and series; UIDs follow from ``seed``, ``study`` and ``series`` alone."""

    seed: int = 0
    study: str = "1"
    series: str = "1"
    patient_name: str = "Çelik^Zoë"
    patient_id: str = "CSPINE-PHANTOM"
    patient_birth_date: str = "19700101"
    patient_sex: str = "O"
    accession_number: str = "A1"
    study_description: str = "CT cervical spine"
    series_description: str = "C-Spine axial bone"
    series_number: int = 2
    body_part: str = "CSPINE"
    kernel: str = "BONE"
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    uid_prefix: str = "2.25."

    def uid(self, *parts: object) -> UID:
        """A UID that depends on the prefix, the seed and these parts only (PS3.5 B.2 with the default prefix)."""
        number = uuid.uuid5(NAMESPACE, "/".join(str(part) for part in (self.seed, *parts))).int
        if self.uid_prefix == "2.25.":
            return UID(f"2.25.{number}")
        return UID(generate_uid(self.uid_prefix, entropy_srcs=[str(number)]))


@dataclass(frozen=True, slots=True)
class SeriesOptions:
    """Everything that may differ between two series of the same voxels."""

    geometry: Geometry = field(default_factory=Geometry)
    encoding: Encoding = field(default_factory=Encoding)
    identity: Identity = field(default_factory=Identity)
    form: SeriesForm = SeriesForm.SINGLE_FRAME
