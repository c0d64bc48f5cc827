"""The narrative reads as sentences and leaves nothing out."""

import highdicom
import pytest

from dicom_node import codes
from dicom_node.narrative import build_narrative
from dicom_node.result_context import ResultKind
from dicom_node.sentences import DISCLAIMER
from model.findings import Limitation, Vertebra
from tests.dicom_node.necks import CASES, LIMITED, NEGATIVE, NOTHING_FOUND, POSITIVE, content, written


def sentences(context):
    """All text of the narrative in reading order, by section."""
    narrative = build_narrative(context)
    sections = [item for item in narrative.ContentSequence if item.ValueType == "CONTAINER"]
    return {
        str(section.ConceptNameCodeSequence[0].CodeMeaning): [str(item.TextValue) for item in section.ContentSequence]
        for section in sections
    }


@pytest.mark.parametrize("name", CASES)
def test_it_is_an_enhanced_sr_titled_diagnostic_imaging_report(name, tmp_path):
    path = written(CASES[name].context(), tmp_path)[ResultKind.NARRATIVE]
    narrative = highdicom.sr.srread(path)
    assert narrative.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.22"
    title = narrative.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("18748-4", "LN")
    assert narrative.PreliminaryFlag == "PRELIMINARY"
    assert narrative.VerificationFlag == "UNVERIFIED"
    assert narrative.CompletionFlag == "COMPLETE"


@pytest.mark.parametrize("name", CASES)
def test_every_form_ends_with_its_conclusion_and_the_disclaimer(name):
    conclusions = sentences(CASES[name].context())["Conclusions"]
    assert len(conclusions) == 2
    assert conclusions[1] == DISCLAIMER


def test_a_positive_study_names_its_suspected_levels_first_to_last():
    said = sentences(POSITIVE.context())
    assert said["Conclusions"][0] == "Suspected fracture (probability): C2 (90%), C5 (90%)."
    assert "C2: suspected fracture, certainty 90%." in said["Findings"]
    assert "C3: no suspected fracture (fracture probability 6%)." in said["Findings"]


def test_a_negative_study_says_what_was_looked_at():
    said = sentences(NEGATIVE.context())
    assert said["Conclusions"][0] == "No suspected fracture of C1 to C7."
    assert len([text for text in said["Findings"] if "no suspected fracture" in text]) == len(Vertebra)


def test_a_limited_study_says_what_was_not_assessed():
    said = sentences(LIMITED.context())
    assert "Limitation: Not found, therefore not assessed: C3, C5, C6 and C7." in said["Findings"]
    assert f"Limitation: {Limitation.LEVELS_NOT_CONTIGUOUS.value}" in said["Findings"]


def test_a_study_without_levels_says_that_nothing_can_be_said():
    said = sentences(NOTHING_FOUND.context())
    assert said["Findings"] == [f"Limitation: {Limitation.NO_LEVELS.value}"]
    assert said["Conclusions"][0].startswith("Undetermined")


def test_software_and_model_are_named():
    (procedure,) = sentences(POSITIVE.context())["Current Procedure Descriptions"]
    assert "cspine 1.2.3" in procedure
    assert "synthetic-neck 0.1.0" in procedure


def test_it_holds_text_alone_and_no_coordinates():
    narrative = build_narrative(POSITIVE.context())
    assert not content(narrative, "Findings", "Image Region")
    assert codes.FRACTURE.value not in {
        str(item.ConceptCodeSequence[0].CodeValue) for item in narrative.ContentSequence if item.ValueType == "CODE"
    }
