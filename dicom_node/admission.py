"""Whom the SCP lets in, in which roles, and how many at a time (PS3.8 9.3.4, PS3.7 D.3.3.4)."""

import logging
import threading
from typing import cast

from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from dicom_node.commitment_report import STORAGE_COMMITMENT
from dicom_node.header import is_uid
from dicom_node.node import AETitle
from dicom_node.policy import Rejection, ScpConfig
from dicom_node.reception import Reception
from dicom_node.spool import Spool

LOGGER = logging.getLogger(__name__)

_SYNTAXES_NOT_SUPPORTED = 4  # PS3.8 9.3.3.2


class Admission:
    """Decides on association requests and counts the associations that it let in; used from several threads."""

    def __init__(self, config: ScpConfig, spool: Spool) -> None:
        self._config = config
        self._spool = spool
        self._established: set[str] = set()
        self._lock = threading.Lock()

    @property
    def established(self) -> int:
        """The number of associations that were let in and have not left."""
        with self._lock:
            return len(self._established)

    def decide(self, association: Association, reception: Reception) -> Rejection | None:
        """Reject the association request and return why, or count it among the established ones."""
        rejection = self._rejection(association, reception)
        if rejection is None:
            _require_scp_role(association)
            return None
        LOGGER.warning(
            "association from %s rejected: %s", reception.peer_address, rejection.name.lower().replace("_", " ")
        )
        association.acse.send_reject(rejection >> 16, rejection >> 8 & 0xFF, rejection & 0xFF)
        association.kill()
        return rejection

    def leave(self, reception: Reception) -> bool:
        """Take notice that an association is over; return whether it had been let in."""
        with self._lock:
            was_established = reception.association_id in self._established
            self._established.discard(reception.association_id)
        return was_established

    def _rejection(self, association: Association, reception: Reception) -> Rejection | None:
        request = cast("A_ASSOCIATE", association.requestor.primitive)
        if request.called_ae_title.strip() != self._config.ae_title:
            return Rejection.CALLED_AE_TITLE
        try:
            calling = AETitle(request.calling_ae_title)
        except ValueError:
            return Rejection.CALLING_AE_TITLE
        if self._config.calling_ae_titles and calling not in self._config.calling_ae_titles:
            return Rejection.CALLING_AE_TITLE
        if not self._has_space():
            return Rejection.TEMPORARY_CONGESTION
        with self._lock:
            if len(self._established) >= self._config.max_associations:
                return Rejection.LOCAL_LIMIT
            self._established.add(reception.association_id)
        reception.calling_ae_title = calling
        return None

    def _has_space(self) -> bool:
        try:
            return self._spool.free_bytes() >= self._config.min_free_bytes
        except OSError:  # pynetdicom accepts the association when a handler raises
            return False


def refused_names(association: Association) -> list[str]:
    """Return the names of the refused SOP classes, and whether only their encoding was refused."""
    return sorted({_refused_name(context) for context in association.rejected_contexts})


def _require_scp_role(association: Association) -> None:
    """Take storage commitment out of the offer unless the requestor proposes to be its SCP: we never are."""
    role = association.requestor.role_selection.get(UID(STORAGE_COMMITMENT))
    if role is None or not role.scp_role:
        acceptor = association.acceptor
        acceptor.supported_contexts = [
            context for context in acceptor.supported_contexts if context.abstract_syntax != STORAGE_COMMITMENT
        ]


def _refused_name(context: PresentationContext) -> str:
    """Return the name of a refused SOP class (its UID when it has none), and whether only its encoding was refused."""
    text = str(context.abstract_syntax or "")
    name = UID(text).name if is_uid(text) else "malformed UID"
    return f"{name} (transfer syntaxes)" if context.result == _SYNTAXES_NOT_SUPPORTED else name
