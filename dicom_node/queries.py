"""Queries to a peer as SCU of the Study Root Information Model, C-FIND: what it says of a study (PS3.4 C.4.1)."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from ssl import SSLContext
from typing import cast

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.dsutils import encode

from dicom_node.association import DEFAULT_TIMEOUTS, ScuTimeouts, accepted_context, associated, responses_of
from dicom_node.encoded_data_set import encoded_data_set
from dicom_node.errors import InvalidInstance, PeerError
from dicom_node.header import is_uid
from dicom_node.node import Peer
from dicom_node.sanitize import Header
from dicom_node.statuses import describe_status, verdict
from dicom_node.study_attributes import STUDY_KEYWORDS, StudyAttributes, the_study
from dicom_node.transfer_syntaxes import NATIVE_SYNTAXES

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root Query/Retrieve Information Model - FIND."""
MAX_ANSWERS = 10_000
"""Answers to one query that are read."""
QUERY_SECONDS = 300.0
"""Time for all the answers to one query; each has to come within the DIMSE timeout."""

_PENDING = frozenset({0xFF00, 0xFF01})
_UIDS_IN_A_QUERY = 100
_CANNOT_PROCESS = 0xC000  # with any lower digits: of this service, it does not say for how long

Keys = Mapping[str, str | Sequence[str]]


def study_attributes(
    study_instance_uid: str,
    peer: Peer,
    calling_ae_title: str,
    timeouts: ScuTimeouts = DEFAULT_TIMEOUTS,
    tls: SSLContext | None = None,
) -> StudyAttributes | None:
    """Return what ``peer`` says of the study and its patient, None when it does not know the study.

    Raises ``PeerError`` when there is no answer, ``AmbiguousStudy`` when answers differ.
    """
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study_instance_uid, **dict.fromkeys(STUDY_KEYWORDS, "")}
    with _query_association(peer, calling_ae_title, timeouts, tls) as association:
        return the_study(_find(association, peer, keys), study_instance_uid)


def instances_there(
    study_instance_uid: str,
    sop_instance_uids: Collection[str],
    peer: Peer,
    calling_ae_title: str,
    timeouts: ScuTimeouts = DEFAULT_TIMEOUTS,
    tls: SSLContext | None = None,
) -> frozenset[str]:
    """Return which of these instances of the study ``peer`` knows; raises ``PeerError`` when there is no answer.

    Series after series is asked, because a hierarchical query names one (PS3.4 C.4.1.2.1); those of the source come
    last: it stops when all are found.
    """
    missing = set(sop_instance_uids)
    with _query_association(peer, calling_ae_title, timeouts, tls) as association:
        keys: Keys = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": study_instance_uid}
        answers = list(_find(association, peer, {**keys, "SeriesInstanceUID": "", "Modality": ""}))
        series = sorted((_value(answer, "Modality") == "CT", _value(answer, "SeriesInstanceUID")) for answer in answers)
        for uid in dict.fromkeys(uid for _, uid in series if is_uid(uid)):
            wanted = sorted(missing)
            for start in range(0, len(wanted), _UIDS_IN_A_QUERY):
                keys = {
                    "QueryRetrieveLevel": "IMAGE",
                    "StudyInstanceUID": study_instance_uid,
                    "SeriesInstanceUID": uid,
                    "SOPInstanceUID": wanted[start : start + _UIDS_IN_A_QUERY],
                }
                missing -= {_value(answer, "SOPInstanceUID") for answer in _find(association, peer, keys)}
    return frozenset(sop_instance_uids) - missing


def _query_association(
    peer: Peer, calling_ae_title: str, timeouts: ScuTimeouts, tls: SSLContext | None
) -> AbstractContextManager[Association]:
    contexts = [build_context(STUDY_ROOT_FIND, list(NATIVE_SYNTAXES))]
    return associated(peer, calling_ae_title, contexts, timeouts, tls)


def _find(association: Association, peer: Peer, keys: Keys) -> Iterator[Header]:
    """Yield the answers to one query, each with the attributes of ``keys`` that it has; raises ``PeerError``."""
    context = accepted_context(association, STUDY_ROOT_FIND)
    syntax = context.transfer_syntax[0]
    responses = responses_of(association)
    responses.send_msg(_request(keys, implicit=syntax.is_implicit_VR), cast("int", context.context_id))
    deadline = time.monotonic() + QUERY_SECONDS
    for _ in range(MAX_ANSWERS + 1):
        _, response = responses.get_msg(block=True)
        if not isinstance(response, C_FIND) or time.monotonic() > deadline:
            raise PeerError(f"{peer} did not answer the query in time", code="PEER_SILENT", permanent=False)
        if response.Status not in _PENDING:
            _check(cast("int", response.Status), peer)
            return
        identifier = cast("BytesIO", response.Identifier).getvalue()
        try:
            answer = encoded_data_set(memoryview(identifier), syntax).header(tuple(keys))
        except InvalidInstance as error:
            raise PeerError(f"{peer} gave a malformed answer to the query", code="PEER_ANSWER") from error
        yield answer
    raise PeerError(f"{peer} gave more than {MAX_ANSWERS} answers to the query", code="PEER_ANSWER")


def _request(keys: Keys, *, implicit: bool) -> C_FIND:
    """The C-FIND request with ``keys`` as its identifier; an empty one asks for the attribute."""
    identifier = Dataset()
    for keyword, value in keys.items():
        setattr(identifier, keyword, value if isinstance(value, str) else list(value))
    encoded = encode(identifier, implicit, is_little_endian=True)
    if encoded is None:
        raise ValueError("the query cannot be encoded")
    request = C_FIND()
    request.MessageID = 1
    request.AffectedSOPClassUID = UID(STUDY_ROOT_FIND)
    request.Priority = 0
    request.Identifier = BytesIO(encoded)
    return request


def _check(status: int, peer: Peer) -> None:
    """Raise ``PeerError`` unless the last response says that all answers were given (PS3.4 C.4.1.1.4)."""
    if status != 0x0000:
        permanent = verdict(status)[1] and status & 0xF000 != _CANNOT_PROCESS
        message = f"{peer} answered the query: {describe_status(status)}"
        raise PeerError(message, code="PEER_REFUSED", permanent=permanent)


def _value(answer: Header, keyword: str) -> str:
    """The only value of an attribute, or nothing."""
    values = answer.get(keyword, ())
    return str(values[0]).strip(" \0") if len(values) == 1 else ""
