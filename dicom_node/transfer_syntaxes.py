"""The storage SOP classes and transfer syntaxes of the node: the one table behind negotiation and CONFORMANCE.md.

Plain texts: the reading child knows them without loading pydicom. A test holds them against PS3.6 as pydicom has it.
"""

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

STORAGE_CLASSES: tuple[str, ...] = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
)
"""The SOP classes of the images that are received: the computed tomography ones."""

SEGMENTATION_CLASSES: tuple[str, ...] = (
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation Storage
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
)
DOCUMENT_CLASSES: tuple[str, ...] = (
    "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR Storage
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR Storage
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR Storage
    "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection Document Storage
)
REVIEW_CLASSES: tuple[str, ...] = SEGMENTATION_CLASSES + DOCUMENT_CLASSES
"""The SOP classes in which a review of our results may come back. Documents have no Pixel Data."""

RETURNED_CLASSES: tuple[str, ...] = (
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF Storage
    "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State Storage
)
"""The other SOP classes of our results, of which nothing is ever kept.

They are received because a PACS that forwards whole studies sends them back: many give up at the first instance that is
refused, and what comes behind it, a review perhaps, would never arrive.
"""

CLASSES_WITHOUT_PIXELS = frozenset({*DOCUMENT_CLASSES, *RETURNED_CLASSES[1:]})

NATIVE_SYNTAXES: tuple[str, ...] = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""Transfer syntaxes whose Pixel Data has a length that the attributes foretell (PS3.5 A.1, A.2)."""

ENCAPSULATED_SYNTAXES: tuple[str, ...] = (
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless RPCL
    "1.2.840.10008.1.2.4.203",  # HTJ2K
)
"""Transfer syntaxes with encapsulated Pixel Data, data set in explicit VR little endian (PS3.5 A.4)."""

STORAGE_SYNTAXES: tuple[str, ...] = NATIVE_SYNTAXES + ENCAPSULATED_SYNTAXES
"""All accepted ones, preferred first. Deflated syntaxes are left out on purpose: 1 MB of them inflates to 2 GiB."""

LOSSY_SYNTAXES: tuple[str, ...] = (
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.203",  # HTJ2K
)
"""Those that may change pixels: an image is still one afterwards, a mask is not."""

DEFLATED_SYNTAX = "1.2.840.10008.1.2.1.99"
"""Deflated Explicit VR Little Endian: never received; segmentations, which are mostly zeros, can be sent so."""

VERIFICATION_SYNTAXES: tuple[str, ...] = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN)
"""Transfer syntaxes of the Verification SOP Class, which has no data set; the default one comes first."""


def is_explicit(transfer_syntax_uid: str) -> bool:
    """Return whether data sets of this accepted transfer syntax carry explicit VRs."""
    return transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN


def syntaxes_of(sop_class_uid: str) -> tuple[str, ...]:
    """Return the transfer syntaxes in which instances of a received SOP class are accepted, preferred first."""
    if sop_class_uid in CLASSES_WITHOUT_PIXELS:
        return NATIVE_SYNTAXES
    if sop_class_uid in SEGMENTATION_CLASSES:
        return tuple(syntax for syntax in STORAGE_SYNTAXES if syntax not in LOSSY_SYNTAXES)
    return STORAGE_SYNTAXES


def max_bytes_of(sop_class_uid: str) -> int:
    """Return the largest data set of a received SOP class, in bytes."""
    if sop_class_uid in DOCUMENT_CLASSES:
        return 16 << 20  # our reports have about 100 kB, and 1.4 MB where every slice is referenced
    if sop_class_uid in SEGMENTATION_CLASSES or sop_class_uid in RETURNED_CLASSES:
        return 512 << 20  # 7 levels on 600 slices of 512 x 512, one bit a pixel and every frame there, have 138 MB
    return 2 << 30
