"""What can end a study badly: each code with a sentence for the operator and the next step; and the back-off (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class FailureCode(StrEnum):
    """A short stable identifier that OPERATIONS.md, the console and the CLI show."""

    # of dicom_node.errors
    DICOM_NODE = "DICOM_NODE"
    INVALID_INSTANCE = "INVALID_INSTANCE"
    OUT_OF_RESOURCES = "OUT_OF_RESOURCES"
    INELIGIBLE = "INELIGIBLE"
    UNUSABLE_SERIES = "UNUSABLE_SERIES"
    ENHANCED_UNSUPPORTED = "ENHANCED_UNSUPPORTED"
    READING_ABORTED = "READING_ABORTED"
    PEER = "PEER"
    # of the rules
    EXCLUDED_BY_RULE = "EXCLUDED_BY_RULE"
    # of the analysis
    BUNDLE = "BUNDLE"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    PREDICTOR = "PREDICTOR"
    PREDICTOR_OUT_OF_MEMORY = "PREDICTOR_OUT_OF_MEMORY"
    RESULTS = "RESULTS"
    TIME_LIMIT = "TIME_LIMIT"
    POISON = "POISON"
    INPUT_MISSING = "INPUT_MISSING"
    # of the delivery
    NO_DESTINATION = "NO_DESTINATION"
    DELIVERY_REFUSED = "DELIVERY_REFUSED"
    DELIVERY_TIMED_OUT = "DELIVERY_TIMED_OUT"
    NOT_KEPT = "NOT_KEPT"
    NOT_CONFIRMED = "NOT_CONFIRMED"
    STUDY_NOT_THERE = "STUDY_NOT_THERE"
    PATIENT_CONFLICT = "PATIENT_CONFLICT"
    PROFILE_NOT_BUILT = "PROFILE_NOT_BUILT"
    RESULT_CORRUPT = "RESULT_CORRUPT"
    # of the application
    RETRIES_EXHAUSTED = "RETRIES_EXHAUSTED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A failure in an operator's words: what happened, and what to do next."""

    sentence: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a study ended: a code of the table (or a finer one of ``dicom_node``) and this study's own reason.

    ``text`` never holds a patient's identity.
    """

    code: str
    text: str


EXPLANATIONS: Mapping[FailureCode, Explanation] = {
    FailureCode.DICOM_NODE: Explanation(
        "The DICOM data could not be handled.",
        "Read the reason; if it does not say what to change, keep the study and report it.",
    ),
    FailureCode.INVALID_INSTANCE: Explanation(
        "Received bytes are not an acceptable DICOM instance.",
        "Ask the sending system for its conformance statement; the instance was refused and is not stored.",
    ),
    FailureCode.OUT_OF_RESOURCES: Explanation(
        "The spool cannot take more instances.",
        "Free disk space in the data folder; the sender tries again by itself.",
    ),
    FailureCode.INELIGIBLE: Explanation(
        "Nothing in the study is a CT of the cervical spine that can be analyzed.",
        "Nothing to do if that is right; else send the thin axial series and retry.",
    ),
    FailureCode.UNUSABLE_SERIES: Explanation(
        "The chosen series cannot be read as a volume.",
        "Send the series again from the PACS or the scanner; the reason names what is wrong with it.",
    ),
    FailureCode.ENHANCED_UNSUPPORTED: Explanation(
        "The multi-frame instance has a structure that is not supported.",
        "Send the series as single-frame CT Image Storage.",
    ),
    FailureCode.READING_ABORTED: Explanation(
        "Reading the study exceeded its memory or time limit, or ended the reading process.",
        "Check the study in a viewer; if it is sound, raise the reading limits and retry.",
    ),
    FailureCode.PEER: Explanation(
        "The PACS could not be reached or did not accept the association.",
        "Run `cspine doctor`; check the destination's address, AE titles and that the PACS knows this node.",
    ),
    FailureCode.EXCLUDED_BY_RULE: Explanation(
        "A rule of this site says that the study is not analyzed; the reason names the rule and its line.",
        "Nothing to do if that is right; else `cspine rules test UID` shows why it was met: correct it and start the "
        "clerk again. `cspine retry UID` analyzes this study whatever the rules say.",
    ),
    FailureCode.BUNDLE: Explanation(
        "The model bundle is missing, changed or does not fit this version.",
        "Install the bundle again; then retry the study.",
    ),
    FailureCode.MODEL_UNAVAILABLE: Explanation(
        "The model that is to serve cannot be loaded by this worker.",
        "Run `cspine doctor`, then `cspine model install` on this machine or `cspine model rollback`; the study is "
        "tried again by itself.",
    ),
    FailureCode.PREDICTOR: Explanation(
        "The network could not analyze the volume.", "Retry once; if it fails again, keep the study and report it."
    ),
    FailureCode.PREDICTOR_OUT_OF_MEMORY: Explanation(
        "The GPU had too little memory, also with a smaller batch.",
        "Free the GPU from other programs; the study is tried again by itself.",
    ),
    FailureCode.RESULTS: Explanation(
        "The results could not be encoded as DICOM objects.", "Keep the study and report it; it is a defect."
    ),
    FailureCode.TIME_LIMIT: Explanation(
        "The analysis took longer than its time limit.",
        "Check that the worker has the GPU it expects (`cspine doctor`); then retry.",
    ),
    FailureCode.POISON: Explanation(
        "The study ended its worker process several times and is set aside.",
        "Keep the study and report it; a retry counts from zero again.",
    ),
    FailureCode.INPUT_MISSING: Explanation(
        "Stored instances of the study are missing or changed on disk.",
        "Check the disk and the backup; send the study again from the PACS.",
    ),
    FailureCode.NO_DESTINATION: Explanation(
        "No destination is configured, so the results stay here.",
        "Set CSPINE_DESTINATION to AETITLE@HOST:PORT, or CSPINE_DESTINATIONS_FILE; then retry.",
    ),
    FailureCode.DELIVERY_REFUSED: Explanation(
        "The PACS refused a result for good.",
        "Look up the status in the PACS log; allow the SOP class or this AE title there, then retry.",
    ),
    FailureCode.DELIVERY_TIMED_OUT: Explanation(
        "The PACS did not take the results within the time for tries.",
        "Bring the PACS back, check it with `cspine echo`, then retry: the stored results are sent as they are.",
    ),
    FailureCode.NOT_KEPT: Explanation(
        "The PACS accepted a result several times and did not keep it.",
        "Look in the PACS log for what it does with the object (quota, routing, quarantine), then retry.",
    ),
    FailureCode.NOT_CONFIRMED: Explanation(
        "The PACS accepted the results, but whether it keeps them could not be found out.",
        "Let the PACS answer storage commitment or queries, or set the destination's `commitment` to none; then retry.",
    ),
    FailureCode.STUDY_NOT_THERE: Explanation(
        "The PACS does not know the study, so its results were not sent there.",
        "See that the study is in the PACS (it may be filed under another UID), then retry.",
    ),
    FailureCode.PATIENT_CONFLICT: Explanation(
        "The PACS has the study under a patient with another birth date or sex; the results were not sent there.",
        "Find out whose study it is and correct it in the PACS. Retry if that is right now, else send the study again.",
    ),
    FailureCode.PROFILE_NOT_BUILT: Explanation(
        "A destination's profile asks for objects that were not made when the study was analyzed.",
        "Retry: the study is analyzed again, and what was sent already is not sent again.",
    ),
    FailureCode.RESULT_CORRUPT: Explanation(
        "A stored result is missing or changed on disk.",
        "Check the disk; then retry: the study is analyzed again if its results cannot be read.",
    ),
    FailureCode.RETRIES_EXHAUSTED: Explanation(
        "Something that was expected to pass did not pass within the time for tries.",
        "Read the reason, repair it, then retry.",
    ),
    FailureCode.INTERNAL: Explanation(
        "A defect of this program stopped the study.", "Keep the study and report it with the log of that time."
    ),
}


FINER: Mapping[str, FailureCode] = {
    "INSTANCE_MISMATCH": FailureCode.INVALID_INSTANCE,
    "INSTANCE_TOO_LARGE": FailureCode.INVALID_INSTANCE,
    "SPOOL_FULL": FailureCode.OUT_OF_RESOURCES,
    "SPOOL_FAILED": FailureCode.OUT_OF_RESOURCES,
    "DUPLICATE_POSITIONS": FailureCode.UNUSABLE_SERIES,
    "DUPLICATE_UID": FailureCode.UNUSABLE_SERIES,
    "GANTRY_TILT": FailureCode.UNUSABLE_SERIES,
    "HU_SCALE": FailureCode.UNUSABLE_SERIES,
    "IRREGULAR_SPACING": FailureCode.UNUSABLE_SERIES,
    "MISSING_SLICES": FailureCode.UNUSABLE_SERIES,
    "MIXED_PATIENTS": FailureCode.UNUSABLE_SERIES,
    "MIXED_STUDIES": FailureCode.UNUSABLE_SERIES,
    "NO_POSITION": FailureCode.UNUSABLE_SERIES,
    "NO_RESCALE": FailureCode.UNUSABLE_SERIES,
    "SHIFTED_SLICES": FailureCode.UNUSABLE_SERIES,
    "TOO_LARGE": FailureCode.UNUSABLE_SERIES,
    "TRUNCATED": FailureCode.UNUSABLE_SERIES,
    "UNDECODABLE": FailureCode.UNUSABLE_SERIES,
    "READING_MEMORY": FailureCode.READING_ABORTED,
    "READING_TIMEOUT": FailureCode.READING_ABORTED,
    "NO_PRESENTATION_CONTEXT": FailureCode.PEER,
    "PEER_ANSWER": FailureCode.PEER,
    "PEER_REFUSED": FailureCode.PEER,
    "PEER_REJECTED": FailureCode.PEER,
    "PEER_SILENT": FailureCode.PEER,
    "PEER_TLS": FailureCode.PEER,
    "PEER_UNREACHABLE": FailureCode.PEER,
    "REPORT_REFUSED": FailureCode.PEER,
    "STUDY_AMBIGUOUS": FailureCode.PATIENT_CONFLICT,
    "TLS_FILES": FailureCode.PEER,
}
"""Codes of ``dicom_node`` that say more precisely what a code of the table means."""


def explain(code: str) -> Explanation:
    """The explanation of ``code``; a finer code by what it belongs to."""
    try:
        return EXPLANATIONS[FINER.get(code) or FailureCode(code)]
    except ValueError:
        return EXPLANATIONS[FailureCode.DICOM_NODE]


@dataclass(frozen=True, slots=True)
class Backoff:
    """When something transient is tried again: ``base_seconds`` doubled each time, up to ``max_seconds``.

    The pause is spread by jitter, so that the retries of many studies do not come together; tries end
    ``age_seconds`` after the first failure.
    """

    base_seconds: float = 30.0
    max_seconds: float = 900.0
    age_seconds: float = 259200.0

    def pause(self, retries: int, jitter: float) -> timedelta:
        """The pause after ``retries`` earlier retries; ``jitter`` (0..1, drawn by the caller) takes up to a quarter."""
        doubled = self.base_seconds * 2.0 ** min(retries, 62)
        return timedelta(seconds=min(doubled, self.max_seconds) * (1.0 - 0.25 * jitter))

    def exhausted(self, first_failed_at: datetime, now: datetime) -> bool:
        """Whether tries end because the first failure is ``age_seconds`` or longer ago."""
        return now - first_failed_at >= timedelta(seconds=self.age_seconds)
