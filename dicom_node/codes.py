"""The one reviewed table of codes that results use (PS3.16 CID 240, 4031, 6048, 7000, 7001, 7010, 7150).

No validator checks that a code means what its text says, so every code stands here once, with its meaning, and a test
compares it with pydicom's dictionaries. Codes from elsewhere in the package are a defect.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pydicom.sr.coding import Code

from model.findings import Vertebra

VERTEBRA: Mapping[Vertebra, Code] = MappingProxyType(
    {
        Vertebra.C1: Code("14806007", "SCT", "C1 vertebra"),
        Vertebra.C2: Code("39976000", "SCT", "C2 vertebra"),
        Vertebra.C3: Code("113205007", "SCT", "C3 vertebra"),
        Vertebra.C4: Code("5329002", "SCT", "C4 vertebra"),
        Vertebra.C5: Code("36978003", "SCT", "C5 vertebra"),
        Vertebra.C6: Code("36054005", "SCT", "C6 vertebra"),
        Vertebra.C7: Code("87391001", "SCT", "C7 vertebra"),
    }
)
"""Segmented property type, finding and finding site of each level."""

CERVICAL_SPINE = Code("122494005", "SCT", "Cervical spine")
FRACTURE = Code("72704001", "SCT", "Fracture")
"""Not 269062008, which asserts a closed fracture; not in pydicom's dictionaries."""

ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")

PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
UNDETERMINED = Code("373068000", "SCT", "Undetermined")
YES = Code("373066001", "SCT", "Yes")
NO = Code("373067005", "SCT", "No")
"""CID 230: other viewers' answers, read and never written."""

FINDING = Code("121071", "DCM", "Finding")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
CERTAINTY_OF_FINDING = Code("111012", "DCM", "Certainty of Finding")
PERCENT = Code("%", "UCUM", "Percent")
COMMENT = Code("121106", "DCM", "Comment")
CONCLUSION = Code("121077", "DCM", "Conclusion")

IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
"""TID 1500; not in pydicom's dictionaries."""
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
TRACKING_UNIQUE_IDENTIFIER = Code("112040", "DCM", "Tracking Unique Identifier")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
MODALITY = Code("121139", "DCM", "Modality")
COMPUTED_TOMOGRAPHY = Code("CT", "DCM", "Computed Tomography")
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
SOURCE = Code("260753009", "SCT", "Source")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure Reported")
COMPUTED_TOMOGRAPHY_OF_SPINE = Code("241577003", "SCT", "Computed tomography of spine")
"""The procedure reported where the source names none; not in pydicom's dictionaries."""
LANGUAGE = Code("en-US", "RFC5646", "English (United States)")
"""Not in pydicom's dictionaries, which hold no language tags."""

OF_INTEREST = Code("113000", "DCM", "Of Interest")
REJECTED_FOR_QUALITY_REASONS = Code("113001", "DCM", "Rejected for Quality Reasons")
REJECTED_FOR_PATIENT_SAFETY_REASONS = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")

DIAGNOSTIC_IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")
SECTION_CURRENT_PROCEDURE = Code("55111-9", "LN", "Current Procedure Descriptions")
SECTION_FINDINGS = Code("59776-5", "LN", "Findings")
SECTION_CONCLUSIONS = Code("55110-1", "LN", "Conclusions")
PROCEDURE_DESCRIPTION = Code("121065", "DCM", "Procedure Description")

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
DEVICE = Code("121007", "DCM", "Device")
SOURCE_IMAGE_FOR_MONTAGE = Code("121329", "DCM", "Source image for montage")


def all_codes() -> tuple[Code, ...]:
    """Every code of this table, for the test that compares them with the dictionaries."""
    named = [value for value in globals().values() if isinstance(value, Code)]
    return (*VERTEBRA.values(), *named)
