"""The states of a study and the moves between them: one literal table, pure (compare pynetdicom's ``fsm``).

``studies.transition`` is the only code that applies it. A pair that is missing from the table is a programming
error and raises ForbiddenMove; a pair that is in the table may still lose against another process (StaleStudy).
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class StudyState(StrEnum):
    """Where a study is between its first instance and its delivered, confirmed or withdrawn result."""

    RECEIVING = "RECEIVING"
    QUEUED = "QUEUED"
    ANALYZING = "ANALYZING"
    SENDING = "SENDING"
    DELIVERED = "DELIVERED"
    CONFIRMED = "CONFIRMED"
    WITHDRAWN = "WITHDRAWN"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


class Cause(StrEnum):
    """Why a study moves; the value is the kind of the event that records it."""

    LATE_INSTANCE = "LATE_INSTANCE"
    REVISED_INSTANCE = "REVISED_INSTANCE"
    COMPLETED = "COMPLETED"
    EXCLUDED = "EXCLUDED"
    CLAIMED = "CLAIMED"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    CRASHED = "CRASHED"
    POISONED = "POISONED"
    POSTPONED = "POSTPONED"
    INELIGIBLE = "INELIGIBLE"
    ANALYZED = "ANALYZED"
    ANALYSIS_FAILED = "ANALYSIS_FAILED"
    DELIVERED = "DELIVERED"
    DELIVERY_FAILED = "DELIVERY_FAILED"
    CONFIRMED = "CONFIRMED"
    NOT_KEPT = "NOT_KEPT"
    RETRACTED = "RETRACTED"
    WITHDRAWN = "WITHDRAWN"
    SEND_REQUESTED = "SEND_REQUESTED"
    ANALYSIS_RETRIED = "ANALYSIS_RETRIED"
    DELIVERY_RETRIED = "DELIVERY_RETRIED"
    RESULTS_VOIDED = "RESULTS_VOIDED"


class ForbiddenMove(Exception):
    """The table has no such move: the caller is wrong, whatever the row says."""


_S, _C = StudyState, Cause

TRANSITIONS: Mapping[tuple[StudyState, Cause], StudyState] = MappingProxyType(
    {
        # The set of instances changed: whatever was done with the old set is void (generation + 1).
        (_S.QUEUED, _C.LATE_INSTANCE): _S.RECEIVING,
        (_S.ANALYZING, _C.LATE_INSTANCE): _S.RECEIVING,
        (_S.SENDING, _C.LATE_INSTANCE): _S.RECEIVING,
        (_S.DELIVERED, _C.LATE_INSTANCE): _S.RECEIVING,
        (_S.CONFIRMED, _C.LATE_INSTANCE): _S.RECEIVING,
        (_S.WITHDRAWN, _C.LATE_INSTANCE): _S.RECEIVING,
        (_S.SKIPPED, _C.LATE_INSTANCE): _S.RECEIVING,
        (_S.FAILED, _C.LATE_INSTANCE): _S.RECEIVING,
        (_S.QUEUED, _C.REVISED_INSTANCE): _S.RECEIVING,
        (_S.ANALYZING, _C.REVISED_INSTANCE): _S.RECEIVING,
        (_S.SENDING, _C.REVISED_INSTANCE): _S.RECEIVING,
        (_S.DELIVERED, _C.REVISED_INSTANCE): _S.RECEIVING,
        (_S.CONFIRMED, _C.REVISED_INSTANCE): _S.RECEIVING,
        (_S.WITHDRAWN, _C.REVISED_INSTANCE): _S.RECEIVING,
        (_S.SKIPPED, _C.REVISED_INSTANCE): _S.RECEIVING,
        (_S.FAILED, _C.REVISED_INSTANCE): _S.RECEIVING,
        # Complete: waiting for the analysis, unless a rule of the site says that there is to be none.
        (_S.RECEIVING, _C.COMPLETED): _S.QUEUED,
        (_S.RECEIVING, _C.EXCLUDED): _S.SKIPPED,
        (_S.QUEUED, _C.CLAIMED): _S.ANALYZING,
        # The analysis ends: without a verdict ...
        (_S.ANALYZING, _C.LEASE_EXPIRED): _S.QUEUED,
        (_S.ANALYZING, _C.CRASHED): _S.QUEUED,
        (_S.ANALYZING, _C.POSTPONED): _S.QUEUED,
        # ... or with one.
        (_S.ANALYZING, _C.POISONED): _S.FAILED,
        (_S.ANALYZING, _C.ANALYSIS_FAILED): _S.FAILED,
        (_S.ANALYZING, _C.INELIGIBLE): _S.SKIPPED,
        (_S.ANALYZING, _C.ANALYZED): _S.SENDING,
        # Delivery: the study stays SENDING while one clerk holds the lease or one destination is tried later.
        (_S.SENDING, _C.CLAIMED): _S.SENDING,
        (_S.SENDING, _C.LEASE_EXPIRED): _S.SENDING,
        (_S.SENDING, _C.POSTPONED): _S.SENDING,
        (_S.SENDING, _C.DELIVERED): _S.DELIVERED,
        (_S.SENDING, _C.DELIVERY_FAILED): _S.FAILED,
        (_S.SENDING, _C.POISONED): _S.FAILED,
        # Confirmation, where a destination is asked for it: what it does not keep is sent again.
        (_S.DELIVERED, _C.CLAIMED): _S.DELIVERED,
        (_S.DELIVERED, _C.LEASE_EXPIRED): _S.DELIVERED,
        (_S.DELIVERED, _C.POSTPONED): _S.DELIVERED,
        (_S.DELIVERED, _C.CONFIRMED): _S.CONFIRMED,
        (_S.DELIVERED, _C.NOT_KEPT): _S.SENDING,
        (_S.DELIVERED, _C.DELIVERY_FAILED): _S.FAILED,
        (_S.DELIVERED, _C.POISONED): _S.FAILED,
        # A wrong result: its Key Object "rejected" is sent, then the result is withdrawn.
        (_S.SENDING, _C.RETRACTED): _S.SENDING,
        (_S.DELIVERED, _C.RETRACTED): _S.SENDING,
        (_S.CONFIRMED, _C.RETRACTED): _S.SENDING,
        (_S.SKIPPED, _C.RETRACTED): _S.SENDING,
        (_S.FAILED, _C.RETRACTED): _S.SENDING,
        (_S.WITHDRAWN, _C.RETRACTED): _S.SENDING,
        (_S.SENDING, _C.WITHDRAWN): _S.WITHDRAWN,
        # The operator decides.
        (_S.FAILED, _C.ANALYSIS_RETRIED): _S.QUEUED,
        (_S.SKIPPED, _C.ANALYSIS_RETRIED): _S.QUEUED,
        (_S.FAILED, _C.DELIVERY_RETRIED): _S.SENDING,
        (_S.FAILED, _C.RESULTS_VOIDED): _S.QUEUED,
        (_S.SENDING, _C.SEND_REQUESTED): _S.SENDING,
        (_S.DELIVERED, _C.SEND_REQUESTED): _S.SENDING,
        (_S.CONFIRMED, _C.SEND_REQUESTED): _S.SENDING,
        (_S.FAILED, _C.SEND_REQUESTED): _S.SENDING,
    }
)

RENEWING = frozenset({Cause.LATE_INSTANCE, Cause.REVISED_INSTANCE, Cause.RESULTS_VOIDED})
"""Causes that begin a new generation (new instances, or results that are no good any more): a task of an older
generation stops without writing."""

ENDS = frozenset(
    {StudyState.DELIVERED, StudyState.CONFIRMED, StudyState.WITHDRAWN, StudyState.SKIPPED, StudyState.FAILED}
)
"""States that only a new instance, the operator or (from DELIVERED) an awaited confirmation leaves."""


SERVED = frozenset({StudyState.SENDING, StudyState.DELIVERED})
"""States in which a clerk may have something to do for a study."""


def after(state: StudyState, cause: Cause) -> StudyState:
    """The state that follows ``state`` for ``cause``; raises ForbiddenMove where the table has no such move."""
    try:
        return TRANSITIONS[state, cause]
    except KeyError:
        raise ForbiddenMove(f"a study that is {state} cannot move because of {cause}") from None
