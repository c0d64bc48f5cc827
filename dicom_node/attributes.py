"""Tag and VR of the attributes that are read from strangers' headers and answers (PS3.6 6).

A table of our own, so that the reading child need not load pydicom's dictionary; a test holds it against that one.
"""

from typing import NamedTuple

_TABLE = """
00080005 CS SpecificCharacterSet
00080008 CS ImageType
00080016 UI SOPClassUID
00080018 UI SOPInstanceUID
00080020 DA StudyDate
00080021 DA SeriesDate
00080022 DA AcquisitionDate
00080023 DA ContentDate
00080030 TM StudyTime
00080031 TM SeriesTime
00080032 TM AcquisitionTime
00080033 TM ContentTime
00080050 SH AccessionNumber
00080052 CS QueryRetrieveLevel
00080060 CS Modality
00080070 LO Manufacturer
00080090 PN ReferringPhysicianName
00080100 SH CodeValue
00080102 SH CodingSchemeDesignator
00080103 SH CodingSchemeVersion
00080104 LO CodeMeaning
00080201 SH TimezoneOffsetFromUTC
00081010 SH StationName
00081030 LO StudyDescription
00081032 SQ ProcedureCodeSequence
0008103E LO SeriesDescription
00081090 LO ManufacturerModelName
00081115 SQ ReferencedSeriesSequence
00081150 UI ReferencedSOPClassUID
00081155 UI ReferencedSOPInstanceUID
00081195 UI TransactionUID
00081197 US FailureReason
00081198 SQ FailedSOPSequence
00081199 SQ ReferencedSOPSequence
00089007 CS FrameType
00100010 PN PatientName
00100020 LO PatientID
00100021 LO IssuerOfPatientID
00100030 DA PatientBirthDate
00100040 CS PatientSex
00101010 AS PatientAge
00180015 CS BodyPartExamined
00180050 DS SliceThickness
00180088 DS SpacingBetweenSlices
00181000 LO DeviceSerialNumber
00181020 LO SoftwareVersions
00181030 LO ProtocolName
00181210 SH ConvolutionKernel
00185100 CS PatientPosition
0020000D UI StudyInstanceUID
0020000E UI SeriesInstanceUID
00200010 SH StudyID
00200011 IS SeriesNumber
00200012 IS AcquisitionNumber
00200013 IS InstanceNumber
00200032 DS ImagePositionPatient
00200037 DS ImageOrientationPatient
00200052 UI FrameOfReferenceUID
00201040 LO PositionReferenceIndicator
00209113 SQ PlanePositionSequence
00209116 SQ PlaneOrientationSequence
00280002 US SamplesPerPixel
00280004 CS PhotometricInterpretation
00280008 IS NumberOfFrames
00280010 US Rows
00280011 US Columns
00280030 DS PixelSpacing
00280100 US BitsAllocated
00280101 US BitsStored
00280102 US HighBit
00280103 US PixelRepresentation
00280120 US PixelPaddingValue
00280121 US PixelPaddingRangeLimit
00281052 DS RescaleIntercept
00281053 DS RescaleSlope
00281054 LO RescaleType
00289110 SQ PixelMeasuresSequence
00321064 SQ RequestedProcedureCodeSequence
00400008 SQ ScheduledProtocolCodeSequence
00400260 SQ PerformedProtocolCodeSequence
00400275 SQ RequestAttributesSequence
0040A040 CS ValueType
0040A043 SQ ConceptNameCodeSequence
0040A124 UI UID
0040A160 UT TextValue
0040A168 SQ ConceptCodeSequence
0040A360 SQ PredecessorDocumentsSequence
0040A375 SQ CurrentRequestedProcedureEvidenceSequence
0040A385 SQ PertinentOtherEvidenceSequence
0040A493 CS VerificationFlag
0040A525 SQ IdenticalDocumentsSequence
0040A730 SQ ContentSequence
00620001 CS SegmentationType
00620002 SQ SegmentSequence
00620004 US SegmentNumber
00620005 LO SegmentLabel
0062000A SQ SegmentIdentificationSequence
0062000B US ReferencedSegmentNumber
0062000E US MaximumFractionalValue
0062000F SQ SegmentedPropertyTypeCodeSequence
00620021 UI TrackingUID
52009229 SQ SharedFunctionalGroupsSequence
52009230 SQ PerFrameFunctionalGroupsSequence
"""


class Attribute(NamedTuple):
    """One line of the table; ``vr`` is US where PS3.6 says "US or SS"."""

    tag: int
    vr: str


ATTRIBUTES = {
    keyword: Attribute(int(tag, 16), vr) for tag, vr, keyword in (line.split() for line in _TABLE.strip().splitlines())
}
VR_BY_TAG = {attribute.tag: attribute.vr.encode() for attribute in ATTRIBUTES.values()}
