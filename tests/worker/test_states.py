"""worker.states: the literal table, its properties, and the diagram that the architecture draws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.states import ENDS, RENEWING, TRANSITIONS, Cause, ForbiddenMove, StudyState, after

S, C = StudyState, Cause


def test_the_table_allows_exactly_the_documented_pairs_of_states():
    pairs = {(old.value, new.value) for (old, _), new in TRANSITIONS.items()}
    back = {(state.value, "RECEIVING") for state in StudyState if state is not S.RECEIVING}
    assert pairs == back | {
        ("RECEIVING", "QUEUED"),
        ("RECEIVING", "SKIPPED"),
        ("QUEUED", "ANALYZING"),
        ("ANALYZING", "QUEUED"),
        ("ANALYZING", "SENDING"),
        ("ANALYZING", "SKIPPED"),
        ("ANALYZING", "FAILED"),
        ("SENDING", "SENDING"),
        ("SENDING", "DELIVERED"),
        ("SENDING", "FAILED"),
        ("SENDING", "WITHDRAWN"),
        ("DELIVERED", "DELIVERED"),
        ("DELIVERED", "CONFIRMED"),
        ("DELIVERED", "SENDING"),
        ("DELIVERED", "FAILED"),
        ("CONFIRMED", "SENDING"),
        ("SKIPPED", "SENDING"),
        ("WITHDRAWN", "SENDING"),
        ("FAILED", "QUEUED"),
        ("FAILED", "SENDING"),
        ("SKIPPED", "QUEUED"),
    }


@given(st.sampled_from(StudyState), st.sampled_from(Cause))
def test_what_the_table_lacks_is_forbidden(state: StudyState, cause: Cause):
    if (state, cause) in TRANSITIONS:
        assert after(state, cause) is TRANSITIONS[state, cause]
    else:
        with pytest.raises(ForbiddenMove, match=state):
            after(state, cause)


@given(st.sampled_from([state for state in StudyState if state is not S.RECEIVING]))
def test_a_late_instance_brings_every_other_state_back_to_receiving(state: StudyState):
    assert after(state, C.LATE_INSTANCE) is S.RECEIVING
    assert after(state, C.REVISED_INSTANCE) is S.RECEIVING


def test_only_a_new_instance_or_the_operator_leaves_an_end():
    leaving = {cause for (state, cause) in TRANSITIONS if state in ENDS - {S.DELIVERED}}
    assert leaving == RENEWING | {C.ANALYSIS_RETRIED, C.DELIVERY_RETRIED, C.RETRACTED, C.SEND_REQUESTED}


def test_a_delivered_study_is_besides_left_for_its_confirmation_alone():
    leaving = {cause for (state, cause), new in TRANSITIONS.items() if state is S.DELIVERED and new is not state}
    assert leaving == RENEWING - {C.RESULTS_VOIDED} | {
        C.RETRACTED,
        C.SEND_REQUESTED,
        C.CONFIRMED,
        C.NOT_KEPT,
        C.DELIVERY_FAILED,
        C.POISONED,
    }


def test_a_study_whose_results_are_withdrawn_sends_another_retraction_at_most():
    leaving = {cause for (old, cause), new in TRANSITIONS.items() if old is S.WITHDRAWN and new is not S.RECEIVING}
    assert leaving == {C.RETRACTED}


@pytest.mark.parametrize("start", StudyState)
def test_every_state_can_still_end_delivered_and_confirmed(start: StudyState):
    reached = {start}
    while more := {new for (old, _), new in TRANSITIONS.items() if old in reached} - reached:
        reached |= more
    assert {S.DELIVERED, S.CONFIRMED} <= reached


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        TRANSITIONS[S.DELIVERED, C.CLAIMED] = S.ANALYZING  # type: ignore[index]
