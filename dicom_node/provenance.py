"""Who made a result, when, for whom: equipment, algorithm, times, patient, study (PS3.3 C.12.1, C.7.5.1; IHE AIR).

highdicom takes the clock and random UIDs where none is given, and warns with the patient's name in the text; so its
objects are built from a header without names and then stamped here, which makes a repeated run byte-identical.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Self

import highdicom
from highdicom.base import SOPClass
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import DT

from dicom_node import codes
from dicom_node.node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Device
from dicom_node.result_context import ResultContext, SupersededResult
from dicom_node.result_kind import ResultKind, variant_name


@dataclass(frozen=True, slots=True)
class Origin:
    """Which device made an object, and when (aware, in the zone in which it is written)."""

    device: Device
    moment: datetime

    @classmethod
    def of(cls, context: ResultContext) -> Self:
        """The origin of the results of one analysis."""
        return cls(context.device, in_zone_of(context.series.headers[0], context.analyzed_at))

    def arguments(self, what: str) -> dict[str, Any]:
        """The keyword arguments that name this origin; ``what`` begins the Series Description."""
        return {
            "manufacturer": self.device.manufacturer,
            "manufacturer_model_name": self.device.model_name,
            "software_versions": self.device.software_version,
            "device_serial_number": self.device.serial,
            "series_description": f"{what} - cspine {self.device.software_version[:24]} AI, not verified"[:64],
            "contributing_equipment": [contributing_equipment(self)],
        }


def algorithm_parameters(context: ResultContext) -> dict[str, str]:
    """What decided the result beside the software: the model bundle, its hash and the threshold."""
    return {
        "model": f"{context.bundle_name} {context.bundle_version}",
        "sha256": context.bundle_sha256,
        "threshold": f"{context.findings.threshold:g}",
    }


def algorithm_identification(context: ResultContext) -> highdicom.AlgorithmIdentificationSequence:
    """Segmentation Algorithm Identification Sequence (0062,0007), equal to the equipment as IHE AIR asks."""
    return highdicom.AlgorithmIdentificationSequence(
        name=context.device.model_name,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        version=context.device.software_version,
        source=context.device.manufacturer,
        parameters=algorithm_parameters(context),
    )


def contributing_equipment(origin: Origin) -> highdicom.ContributingEquipment:
    """The item of Contributing Equipment Sequence (0018,A001) for this product, with its Device UID."""
    device = origin.device
    item = highdicom.ContributingEquipment(
        manufacturer=device.manufacturer,
        purpose_of_reference=codes.PROCESSING_EQUIPMENT,
        manufacturer_model_name=device.model_name,
        software_versions=device.software_version,
        device_serial_number=device.serial,
        contribution_description="Vertebra segmentation and fracture detection; AI, not verified",
    )
    item.DeviceUID = device.device_uid
    item.ContributionDateTime = DT(origin.moment.strftime("%Y%m%d%H%M%S.%f%z"))
    return item


def common_arguments(
    context: ResultContext, kind: ResultKind, what: str, segmentation: ResultKind | None = None
) -> dict[str, Any]:
    """The keyword arguments that every highdicom object of this result set shares.

    ``segmentation`` is the kind that the object refers to: an object that refers to another one is another object.
    """
    variant = variant_name(kind, segmentation)
    return {
        "series_instance_uid": context.uid("series", variant),
        "series_number": kind.series_number,
        "sop_instance_uid": context.uid("instance", variant),
        "instance_number": 1,
        **Origin.of(context).arguments(what),
    }


def report_arguments(
    context: ResultContext, header: Dataset, kind: ResultKind, what: str, segmentation: ResultKind | None = None
) -> dict[str, Any]:
    """The keyword arguments that the structured reports share besides: complete, preliminary, not verified.

    Reports of earlier versions become their Predecessor Documents (0040,A360).
    """
    return {
        "is_complete": True,
        "is_final": False,
        "is_verified": False,
        "previous_versions": [_reference(context, earlier) for earlier in context.supersedes] or None,
        "specific_character_set": header.get("SpecificCharacterSet"),
        **common_arguments(context, kind, what, segmentation),
    }


def _reference(context: ResultContext, earlier: SupersededResult) -> Dataset:
    """An earlier report as highdicom takes it; it lies in the same study."""
    reference = Dataset()
    reference.StudyInstanceUID = context.study_instance_uid
    reference.SeriesInstanceUID = earlier.series_instance_uid
    reference.SOPClassUID = earlier.sop_class_uid
    reference.SOPInstanceUID = earlier.sop_instance_uid
    return reference


def stamp(dataset: SOPClass, context: ResultContext, header: Dataset) -> None:
    """Give ``dataset`` the times of the analysis, the patient and study of ``header`` and UIDs that repeat."""
    stamp_origin(dataset, Origin.of(context), header)
    if "DimensionOrganizationSequence" in dataset:
        uid = context.uid("dimensions", dataset.SOPInstanceUID)
        for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
            item.DimensionOrganizationUID = uid


def stamp_origin(dataset: SOPClass, origin: Origin, header: Dataset) -> None:
    """Give ``dataset`` the times of ``origin``, and the patient and study of ``header``."""
    dataset.copy_patient_and_study_information(header)
    _stamp_times(dataset, origin)
    if header.get("TimezoneOffsetFromUTC"):
        dataset.TimezoneOffsetFromUTC = header.TimezoneOffsetFromUTC
    dataset.ContributingEquipmentSequence = [
        item for item in dataset.ContributingEquipmentSequence if item.get("ManufacturerModelName") != "highdicom"
    ]
    meta = dataset.file_meta
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME


def procedures_reported(header: Dataset) -> tuple[Code, ...]:
    """The procedure of the source study (0008,1032), or the site's default: a CT of the spine (IHE AIR)."""
    found = []
    for item in header.get("ProcedureCodeSequence") or []:
        value, scheme, meaning = (item.get(k) for k in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"))
        if value and scheme and meaning:
            found.append(Code(str(value), str(scheme), str(meaning), item.get("CodingSchemeVersion") or None))
    return tuple(found) or (codes.COMPUTED_TOMOGRAPHY_OF_SPINE,)


def in_zone_of(header: Dataset, moment: datetime) -> datetime:
    """``moment`` in the zone that ``header`` names (0008,0201) if it names one, else in its own."""
    offset = str(header.get("TimezoneOffsetFromUTC") or "")
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdecimal() and offset[1:] <= "1400":
        shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
        return moment.astimezone(timezone(shift if offset[0] == "+" else -shift))
    return moment


def _stamp_times(dataset: Dataset, origin: Origin) -> None:
    """Write the time of ``origin`` into every date and time that highdicom took from the clock."""
    date, time = origin.moment.strftime("%Y%m%d"), origin.moment.strftime("%H%M%S.%f")
    for prefix in ("InstanceCreation", "Content", "PresentationCreation"):
        if f"{prefix}Date" in dataset:
            setattr(dataset, f"{prefix}Date", date)
            setattr(dataset, f"{prefix}Time", time)
    if "DateOfSecondaryCapture" in dataset:
        dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = date, time
    dataset.SeriesDate, dataset.SeriesTime = date, time
    dataset.InstanceCreatorUID = origin.device.device_uid
