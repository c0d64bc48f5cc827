"""Where a study stands after its destinations were attended to: the moves that follow from their rows (pure)."""

from collections.abc import Sequence
from datetime import datetime

from worker.failures import Failure, FailureCode
from worker.states import Cause, StudyState
from worker.studies import Move
from worker.tracking import Track


def moves(state: StudyState, tracks: Sequence[Track], now: datetime, *, withdrawn: bool) -> tuple[Move, ...]:
    """The moves of a study in SENDING or DELIVERED; ``withdrawn`` says that nothing of this generation is to be kept.

    What is still to be sent is tried first, at whatever destination; only then a failure ends the study.
    """
    due = min((at for track in tracks if (at := track.next_at(now)) is not None), default=None)
    failure = _failure(tracks)
    if any(track.pending for track in tracks):
        detail = _pause(due, now, failure)
        if state is StudyState.DELIVERED:
            return (Move(Cause.NOT_KEPT, now, detail, failure=failure, not_before=due),)
        return (Move(Cause.POSTPONED, now, detail, failure=failure, not_before=due),)
    if failure is not None and any(track.given_up for track in tracks):
        return (Move(Cause.DELIVERY_FAILED, now, f"{failure.code}: {failure.text}", failure=failure),)
    if withdrawn and state is StudyState.SENDING:
        return (Move(Cause.WITHDRAWN, now, _told(tracks)),)
    return _delivered(state, tracks, now, due)


def _delivered(state: StudyState, tracks: Sequence[Track], now: datetime, due: datetime | None) -> tuple[Move, ...]:
    """Everything was accepted: confirmed as well, or still to be confirmed, or never to be."""
    accepted = ", ".join(f"{track.destination} has {len(track.rows)} objects" for track in tracks if track.rows)
    delivered = (Move(Cause.DELIVERED, now, accepted, not_before=due),) if state is StudyState.SENDING else ()
    asked = [track for track in tracks if track.destination.confirms and track.rows]
    if asked and all(track.confirmed for track in asked):
        names = ", ".join(str(track.destination) for track in asked)
        return (*delivered, Move(Cause.CONFIRMED, now, f"confirmed by {names}"))
    return delivered or (Move(Cause.POSTPONED, now, _pause(due, now, _failure(tracks)), not_before=due),)


def _failure(tracks: Sequence[Track]) -> Failure | None:
    """The worst complaint's code with the texts of all, those that only the operator can mend first."""
    ordered = sorted(tracks, key=lambda track: not track.given_up)
    complaints = [track.complaint for track in ordered if track.complaint is not None]
    if not complaints:
        return None
    return Failure(complaints[0].code, "; ".join(complaint.text for complaint in complaints))


def _pause(due: datetime | None, now: datetime, failure: Failure | None) -> str:
    waits = "nothing is awaited" if due is None else f"again in {max((due - now).total_seconds(), 0):.0f} s"
    return waits if failure is None else f"{waits}: {failure.text}"


def _told(tracks: Sequence[Track]) -> str:
    told = ", ".join(str(track.destination) for track in tracks if track.rows)
    return f"told to {told}" if told else "no destination had it"


def no_destination(now: datetime) -> Move:
    """There is nobody to send to."""
    failure = Failure(FailureCode.NO_DESTINATION, "no destination is configured")
    return Move(Cause.DELIVERY_FAILED, now, f"{failure.code}: {failure.text}", failure=failure)
