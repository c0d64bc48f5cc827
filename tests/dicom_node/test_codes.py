"""The code table against pydicom's copy of PS3.16 and SNOMED CT: no validator notices a wrong code."""

import re
from pathlib import Path

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.codedict import codes as dictionary
from pydicom.sr.coding import Code

from dicom_node import codes
from model.findings import Vertebra

REVIEWED_BY_HAND = {
    codes.FRACTURE,  # SNOMED CT 72704001 |Fracture (morphologic abnormality)|
    codes.QUALITATIVE_EVALUATIONS,  # PS3.16 TID 1500 row 10
    codes.COMPUTED_TOMOGRAPHY_OF_SPINE,  # SNOMED CT 241577003
    codes.LANGUAGE,  # RFC 5646
}
"""Codes that pydicom's dictionaries do not hold."""


def meanings_in_the_dictionary(code: Code) -> set[str]:
    return {
        re.sub(r" \([a-z ]+\)$", "", meanings[code.value][0].lower())  # without SNOMED CT's semantic tag
        for meanings in concepts.get(code.scheme_designator, {}).values()
        if code.value in meanings
    }


@pytest.mark.parametrize("code", [code for code in codes.all_codes() if code not in REVIEWED_BY_HAND], ids=str)
def test_a_code_has_the_meaning_that_the_dictionary_gives_it(code):
    assert code.meaning.lower() in meanings_in_the_dictionary(code)


@pytest.mark.parametrize("code", sorted(REVIEWED_BY_HAND), ids=str)
def test_a_code_reviewed_by_hand_is_really_not_in_the_dictionary(code):
    assert not meanings_in_the_dictionary(code)


def test_every_level_has_the_code_of_its_own_vertebra():
    for level in Vertebra:
        assert codes.VERTEBRA[level].value == getattr(dictionary.SCT, f"{level.name}Vertebra").value


def test_no_two_codes_of_the_table_are_equal():
    table = codes.all_codes()
    assert len({(code.value, code.scheme_designator) for code in table}) == len(table)


def test_answers_and_categories_come_from_their_context_groups():
    assert {codes.PRESENT, codes.ABSENT, codes.UNDETERMINED} == {
        getattr(dictionary.cid240, name) for name in dictionary.cid240.dir()
    }
    assert dictionary.cid7150.AnatomicalStructure == codes.ANATOMICAL_STRUCTURE
    assert dictionary.cid7150.MorphologicallyAbnormalStructure == codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE
    assert dictionary.cid6048.CertaintyOfFinding == codes.CERTAINTY_OF_FINDING
    assert dictionary.cid7000.DiagnosticImagingReport == codes.DIAGNOSTIC_IMAGING_REPORT
    assert dictionary.cid7021.ImagingMeasurementReport == codes.IMAGING_MEASUREMENT_REPORT


def test_no_other_module_of_the_package_writes_a_code_of_its_own():
    package = Path(codes.__file__).parent
    for module in package.glob("*.py"):
        if module.name != "codes.py":
            assert not re.search(r'\b(Code|CodedConcept)\(\s*"', module.read_text("utf-8")), module.name
