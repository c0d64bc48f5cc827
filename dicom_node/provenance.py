"""Who made a result, when, for whom: equipment, algorithm, times, patient, study (PS3.3 C.12.1, C.7.5.1; IHE AIR).

highdicom takes the clock and random UIDs where none is given, and warns with the patient's name in the text; so its
objects are built from a header without names and then stamped here, which makes a repeated run byte-identical.
"""

from datetime import datetime, timedelta, timezone
from typing import Any

import highdicom
from highdicom.base import SOPClass
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import DT

from dicom_node import codes
from dicom_node.node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.result_context import ResultContext, ResultKind


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


def contributing_equipment(context: ResultContext) -> highdicom.ContributingEquipment:
    """The item of Contributing Equipment Sequence (0018,A001) for this product, with its Device UID."""
    item = highdicom.ContributingEquipment(
        manufacturer=context.device.manufacturer,
        purpose_of_reference=codes.PROCESSING_EQUIPMENT,
        manufacturer_model_name=context.device.model_name,
        software_versions=context.device.software_version,
        device_serial_number=context.device.serial,
        contribution_description="Vertebra segmentation and fracture detection; AI, not verified",
    )
    item.DeviceUID = context.device.device_uid
    item.ContributionDateTime = DT(_moment(context).strftime("%Y%m%d%H%M%S.%f%z"))
    return item


def common_arguments(context: ResultContext, kind: ResultKind, what: str) -> dict[str, Any]:
    """The keyword arguments that every highdicom object of this result set shares."""
    return {
        "series_instance_uid": context.uid("series", kind.value),
        "series_number": kind.series_number,
        "sop_instance_uid": context.uid("instance", kind.value),
        "instance_number": 1,
        "manufacturer": context.device.manufacturer,
        "manufacturer_model_name": context.device.model_name,
        "software_versions": context.device.software_version,
        "device_serial_number": context.device.serial,
        "series_description": context.series_description(what),
        "contributing_equipment": [contributing_equipment(context)],
    }


def report_arguments(context: ResultContext, header: Dataset, kind: ResultKind, what: str) -> dict[str, Any]:
    """The keyword arguments that the structured reports share besides: complete, preliminary, not verified."""
    return {
        "is_complete": True,
        "is_final": False,
        "is_verified": False,
        "specific_character_set": header.get("SpecificCharacterSet"),
        **common_arguments(context, kind, what),
    }


def stamp(dataset: SOPClass, context: ResultContext, header: Dataset) -> None:
    """Give ``dataset`` the times of the analysis, the patient and study of ``header`` and UIDs that repeat."""
    dataset.copy_patient_and_study_information(header)
    _stamp_times(dataset, context, header)
    dataset.ContributingEquipmentSequence = [
        item for item in dataset.ContributingEquipmentSequence if item.get("ManufacturerModelName") != "highdicom"
    ]
    if "DimensionOrganizationSequence" in dataset:
        uid = context.uid("dimensions", dataset.SOPInstanceUID)
        for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
            item.DimensionOrganizationUID = uid
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


def _stamp_times(dataset: Dataset, context: ResultContext, header: Dataset) -> None:
    """Write the analysis time into every date and time that highdicom took from the clock."""
    moment = _moment(context)
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    for prefix in ("InstanceCreation", "Content"):
        if f"{prefix}Date" in dataset:
            setattr(dataset, f"{prefix}Date", date)
            setattr(dataset, f"{prefix}Time", time)
    if "DateOfSecondaryCapture" in dataset:
        dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = date, time
    dataset.SeriesDate, dataset.SeriesTime = date, time
    dataset.InstanceCreatorUID = context.device.device_uid
    if header.get("TimezoneOffsetFromUTC"):
        dataset.TimezoneOffsetFromUTC = header.TimezoneOffsetFromUTC


def _moment(context: ResultContext) -> datetime:
    """The time of the analysis in the source's zone if it names one (0008,0201), else in its own."""
    offset = str(context.series.headers[0].get("TimezoneOffsetFromUTC") or "")
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdecimal() and offset[1:] <= "1400":
        shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
        return context.analyzed_at.astimezone(timezone(shift if offset[0] == "+" else -shift))
    return context.analyzed_at
