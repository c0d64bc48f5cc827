"""The words of the results: no level forgotten, nothing called certain, nothing excluded after an incomplete look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.sentences import (
    Answer,
    answer,
    conclusion,
    level_names,
    limitation_sentences,
    missing_levels,
    negative_levels,
    negative_summary,
    percent,
)
from model.findings import Limitation, StudyFindings, Vertebra, VertebraFinding

probabilities = st.floats(0, 1)


@st.composite
def studies(draw):
    levels = sorted(draw(st.sets(st.sampled_from(list(Vertebra)))))
    vertebrae = tuple(
        VertebraFinding(level, probability := draw(probabilities), probability >= 0.5, 1000.0) for level in levels
    )
    limitations = tuple(draw(st.lists(st.sampled_from(list(Limitation)), unique=True)))
    return StudyFindings(vertebrae, draw(probabilities), 0.5, limitations)


@given(studies())
def test_an_answer_is_negative_only_after_a_complete_look(findings):
    if answer(findings) is Answer.ABSENT:
        assert len(findings.vertebrae) == len(Vertebra)
        assert not findings.limitations
    assert (answer(findings) is Answer.PRESENT) == bool(findings.fractured)


@given(studies())
def test_the_conclusion_names_every_suspected_level_and_excludes_nothing_without_the_answer_absent(findings):
    text = conclusion(findings)
    for finding in findings.fractured:
        assert f"{finding.vertebra.name} (" in text
    if answer(findings) is Answer.UNDETERMINED:
        assert text.startswith("Undetermined") or text.endswith("a cervical fracture is not excluded.")
    if answer(findings) is not Answer.PRESENT:
        assert "Suspected fracture" not in text


@pytest.mark.parametrize("limitation", Limitation)
def test_no_limitation_is_harmless(limitation):
    seen = tuple(VertebraFinding(level, 0.01, fractured=False, volume_mm3=1000.0) for level in Vertebra)
    assert answer(StudyFindings(seen, 0.01, 0.5)) is Answer.ABSENT
    assert answer(StudyFindings(seen, 0.01, 0.5, (limitation,))) is Answer.UNDETERMINED


@pytest.mark.parametrize("probability", [0.2, 0.8])
def test_the_studys_own_probability_decides_nothing(probability):
    seen = tuple(VertebraFinding(level, 0.2, fractured=False, volume_mm3=1000.0) for level in Vertebra)
    assert answer(StudyFindings(seen, probability, 0.5)) is Answer.ABSENT


def test_a_study_may_be_less_probable_than_its_most_suspicious_level():
    seen = tuple(
        VertebraFinding(level, 0.6 if level is Vertebra.C5 else 0.1, level is Vertebra.C5, 1.0) for level in Vertebra
    )
    findings = StudyFindings(seen, 0.3, 0.5)
    assert answer(findings) is Answer.PRESENT
    assert conclusion(findings) == "Suspected fracture (probability): C5 (60%)."


@given(studies())
def test_every_level_is_either_found_or_named_as_missing(findings):
    found = {finding.vertebra for finding in findings.vertebrae}
    assert found | set(missing_levels(findings)) == set(Vertebra)
    suspected = {finding.vertebra for finding in findings.fractured}
    assert set(negative_levels(findings)) | suspected == found
    said = limitation_sentences(findings)
    for limitation in findings.limitations:
        assert limitation.value in said
    if missing_levels(findings):
        assert said


@given(probabilities)
def test_no_probability_is_written_as_certain(probability):
    text = percent(probability)
    assert text not in {"0%", "100%"}
    assert text.isascii()


@pytest.mark.parametrize(
    ("levels", "text"),
    [
        ("C4", "C4"),
        ("C1 C2", "C1 and C2"),
        ("C1 C2 C3", "C1 to C3"),
        ("C1 C2 C5", "C1, C2 and C5"),
        ("C1 C2 C3 C4 C5 C6 C7", "C1 to C7"),
    ],
)
def test_levels_are_named_as_a_reader_would(levels, text):
    assert level_names([Vertebra[name] for name in levels.split()]) == text


def test_a_study_of_suspected_levels_alone_has_no_negative_summary():
    finding = VertebraFinding(Vertebra.C1, 0.8, fractured=True, volume_mm3=1.0)
    assert negative_summary(StudyFindings((finding,), 0.8, 0.5)) is None
