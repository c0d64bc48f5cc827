"""The storage SOP classes and transfer syntaxes of the node: the one table behind negotiation and CONFORMANCE.md."""

from pydicom import uid
from pydicom.uid import UID

STORAGE_CLASSES: tuple[UID, ...] = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
)
"""The SOP classes that are received: the computed tomography ones."""

NATIVE_SYNTAXES: tuple[UID, ...] = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
"""Transfer syntaxes whose Pixel Data has a length that the attributes foretell (PS3.5 A.1, A.2)."""

ENCAPSULATED_SYNTAXES: tuple[UID, ...] = (
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
)
"""Transfer syntaxes with encapsulated Pixel Data, data set in explicit VR little endian (PS3.5 A.4)."""

STORAGE_SYNTAXES: tuple[UID, ...] = NATIVE_SYNTAXES + ENCAPSULATED_SYNTAXES
"""All accepted ones, preferred first. Deflated syntaxes are left out on purpose: 1 MB of them inflates to 2 GiB."""


VERIFICATION_SYNTAXES: tuple[UID, ...] = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian)
"""Transfer syntaxes of the Verification SOP Class, which has no data set; the default one comes first."""


def is_explicit(transfer_syntax_uid: str) -> bool:
    """Return whether data sets of this accepted transfer syntax carry explicit VRs."""
    return transfer_syntax_uid != uid.ImplicitVRLittleEndian
