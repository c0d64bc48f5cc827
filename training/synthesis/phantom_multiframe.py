"""Single-frame CT data sets as one multi-frame instance: Enhanced CT (PS3.3 A.38) and Legacy Converted (PS3.3 A.70)."""

import warnings
from collections.abc import Sequence

from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, EnhancedCTImageStorage

COPIED = [
    "SpecificCharacterSet",
    "StudyDate",
    "SeriesDate",
    "ContentDate",
    "StudyTime",
    "SeriesTime",
    "ContentTime",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "ReferringPhysicianName",
    "StudyDescription",
    "SeriesDescription",
    "ManufacturerModelName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "BodyPartExamined",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "PatientPosition",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyID",
    "SeriesNumber",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
]


def legacy_converted_dataset(slices: Sequence[Dataset], sop_instance_uid: UID) -> Dataset:
    """The single-frame data sets (with native pixels) as a Legacy Converted Enhanced CT instance, made by highdicom."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom rebuilds person names of its sources and says so
        converted = LegacyConvertedEnhancedCTImage(
            legacy_datasets=list(slices),
            series_instance_uid=slices[0].SeriesInstanceUID,
            series_number=int(slices[0].SeriesNumber),
            sop_instance_uid=str(sop_instance_uid),
            instance_number=1,
        )
    dataset = Dataset()
    dataset.update(converted)
    del dataset.ReferencedSeriesSequence  # dciodvfy wants it only where instances are referenced
    return dataset


def enhanced_dataset(slices: Sequence[Dataset], sop_instance_uid: UID) -> Dataset:
    """The single-frame data sets as one Enhanced CT instance without pixels; frames in the order of the slices."""
    first = slices[0]
    dataset = Dataset()
    for keyword in COPIED:
        setattr(dataset, keyword, first[keyword].value)
    dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.ImageType = [*first.ImageType[:2], "VOLUME", "NONE"]
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames = len(slices)
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ContentQualification = "RESEARCH"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionDateTime = "20260102030405"
    dataset.AcquisitionDuration = 1.0
    dataset.AcquisitionNumber = 1
    dataset.AcquisitionContextSequence = []
    _set_dimensions(dataset)
    dataset.SharedFunctionalGroupsSequence = [_shared_groups(first)]
    dataset.PerFrameFunctionalGroupsSequence = [_frame_groups(item, index) for index, item in enumerate(slices, 1)]
    return dataset


def _item(**attributes: object) -> Dataset:
    """A sequence item with these attributes."""
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _code(code: object) -> Dataset:
    """A code sequence item of a coded concept."""
    return _item(
        CodeValue=getattr(code, "value", ""),
        CodingSchemeDesignator=getattr(code, "scheme_designator", ""),
        CodeMeaning=getattr(code, "meaning", ""),
    )


def _set_dimensions(dataset: Dataset) -> None:
    """One dimension: the position of the frame in its stack (PS3.3 C.7.6.17)."""
    organization = UID(f"{dataset.SOPInstanceUID}.1"[:64])
    dataset.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    dataset.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=0x00200032,
            FunctionalGroupPointer=0x00209113,
        )
    ]


def _shared_groups(first: Dataset) -> Dataset:
    """Functional groups that hold for every frame (PS3.3 A.38.1.4)."""
    anatomy = _item(AnatomicRegionSequence=[_code(codes.SCT.CervicalSpine)], FrameLaterality="U")
    transformation = _item(RescaleIntercept=first.RescaleIntercept, RescaleSlope=first.RescaleSlope, RescaleType="HU")
    frame_type = _item(
        FrameType=[*first.ImageType[:2], "VOLUME", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
    )
    measures = _item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    return _item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=first.ImageOrientationPatient)],
        FrameAnatomySequence=[anatomy],
        PixelValueTransformationSequence=[transformation],
        FrameVOILUTSequence=[_item(WindowCenter=400.0, WindowWidth=2000.0)],
        CTImageFrameTypeSequence=[frame_type],
        IrradiationEventIdentificationSequence=[_item(IrradiationEventUID=first.StudyInstanceUID)],
        **_acquisition_groups(first),
    )


def _acquisition_groups(first: Dataset) -> dict[str, list[Dataset]]:
    """How the phantom scanner says that it acquired: required of original images (PS3.3 C.8.15.3)."""
    acquisition = _item(AcquisitionType="SPIRAL", ConstantVolumeFlag="NO", FluoroscopyFlag="NO", GantryDetectorTilt=0.0)
    details = _item(
        RotationDirection="CW",
        RevolutionTime=0.5,
        SingleCollimationWidth=0.6,
        TotalCollimationWidth=38.4,
        TableHeight=100.0,
        GantryDetectorTilt=float(first.GantryDetectorTilt),
        DataCollectionDiameter=500.0,
    )
    reconstruction = _item(
        ReconstructionAlgorithm="FILTER_BACK_PROJ",
        ConvolutionKernel=first.ConvolutionKernel,
        ConvolutionKernelGroup="BONE",
        ReconstructionDiameter=250.0,
        ReconstructionPixelSpacing=first.PixelSpacing,
        ReconstructionAngle=360.0,
        ImageFilter="NONE",
    )
    exposure = _item(
        ExposureTimeInms=500.0,
        XRayTubeCurrentInmA=200.0,
        ExposureInmAs=100.0,
        ExposureModulationType="NONE",
        CTDIvol=10.0,
    )
    center = [0.0, 0.0, 0.0]
    position = _item(TablePosition=0.0, DataCollectionCenterPatient=center, ReconstructionTargetCenterPatient=center)
    return {
        "CTAcquisitionTypeSequence": [acquisition],
        "CTAcquisitionDetailsSequence": [details],
        "CTTableDynamicsSequence": [_item(TableSpeed=20.0, TableFeedPerRotation=10.0, SpiralPitchFactor=1.0)],
        "CTPositionSequence": [position],
        "CTGeometrySequence": [_item(DistanceSourceToDetector=1000.0, DistanceSourceToDataCollectionCenter=500.0)],
        "CTReconstructionSequence": [reconstruction],
        "CTExposureSequence": [exposure],
        "CTXRayDetailsSequence": [
            _item(
                KVP=120.0,
                FocalSpots=[0.7],
                FilterType="FLAT",
                FilterMaterial="ALUMINUM",
                CalciumScoringMassFactorDevice=[1.0] * 3,
            )
        ],
    }


def _frame_groups(frame: Dataset, index: int) -> Dataset:
    """Functional groups of one frame: its content, position and stack index."""
    content = _item(
        FrameAcquisitionNumber=1,
        FrameReferenceDateTime="20260102030405",
        FrameAcquisitionDateTime="20260102030405",
        FrameAcquisitionDuration=500.0,
        DimensionIndexValues=[index],
        StackID="1",
        InStackPositionNumber=index,
    )
    return _item(
        FrameContentSequence=[content],
        PlanePositionSequence=[_item(ImagePositionPatient=frame.ImagePositionPatient)],
    )
