"""A review is read in a process of its own: bounded, and whatever becomes of it, the parent has a sentence."""

import json
import struct
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from dicom_node.errors import DicomNodeError, InvalidInstance, ReadingAborted
from dicom_node.part10 import FileMeta, encode_file_meta
from dicom_node.review import LevelReview, Presence, Review, Verdict
from dicom_node.review_child import answer
from dicom_node.review_document import MAX_CONTENT_ITEMS
from dicom_node.review_exchange import ANSWER_NAME, ReviewRequest
from dicom_node.review_reading import ResultFile, ResultVersion, ReviewLimits, read_review
from model.findings import Vertebra
from tests.dicom_node import edits
from tests.dicom_node.tiny_ct import CANARY, encode_data_set
from tests.dicom_node.tiny_reviews import make_document, make_mask

OURS = ResultFile("/nowhere/summary.dcm", "1.2.840.10008.5.1.4.1.1.7", "2.25.7")
VERSION = ResultVersion((OURS,), (Vertebra.C5,))
EVERY_REVIEW = Review(
    2,
    True,
    Verdict.REJECTED,
    Presence.PRESENT,
    (
        LevelReview(Vertebra.C2, Verdict.ACCEPTED, Presence.ABSENT),
        LevelReview(Vertebra.C5, Verdict.WRONG_LEVEL, Presence.PRESENT, Vertebra.C6, 5, 0.25),
        LevelReview(Vertebra.C7, None, Presence.UNDETERMINED),
    ),
)


def successor(dataset: Dataset, *uids: str) -> Dataset:
    """The object as a successor of our summary."""
    predecessor = make_document()
    predecessor.SOPInstanceUID = OURS.sop_instance_uid
    dataset.PredecessorDocumentsSequence = [edits.reference(predecessor)]
    return dataset


def written(dataset: Dataset | bytes, folder: Path) -> Path:
    path = folder / "review.dcm"
    if isinstance(dataset, bytes):
        path.write_bytes(dataset)
    else:
        meta = FileMeta(dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.file_meta.TransferSyntaxUID, "PACS")
        path.write_bytes(encode_file_meta(meta) + encode_data_set(dataset))
    return path


def read(dataset: Dataset | bytes, folder: Path, limits: ReviewLimits | None = None) -> Review | None:
    """Read an object in a process of its own."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return read_review(written(dataset, folder), (VERSION,), scratch, limits)


def answered(dataset: Dataset | bytes, folder: Path) -> dict[str, object]:
    """What that process answers, without the process."""
    return answer(ReviewRequest(str(written(dataset, folder)), (VERSION,), str(folder)))


def item(name: str, **values: object) -> Dataset:
    dataset = Dataset()
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = name, "DCM", name
    dataset.ConceptNameCodeSequence = [code]
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def test_a_review_is_told_and_what_is_none_is_not(tmp_path):
    assert read(successor(make_document()), tmp_path) == Review(0, False)
    (tmp_path / "scratch" / ANSWER_NAME).unlink()
    assert read(make_document(), tmp_path) is None


def test_a_review_and_a_request_survive_json():
    assert Review.from_json(json.loads(json.dumps(EVERY_REVIEW.as_json()))) == EVERY_REVIEW
    request = ReviewRequest("/a", (VERSION,), "/b", ReviewLimits(1, 2, 3.0))
    assert ReviewRequest.from_json(request.to_json()) == request


def test_a_review_is_one_line_without_what_is_said_twice():
    assert EVERY_REVIEW.as_line() == (
        "results rejected; C5 wrong level, is C6, overlap 0.25, fracture present; "
        "C7 no verdict, fracture undetermined; C2 accepted (verified)"
    )
    assert Review(0, False).as_line() == "no verdict (not verified)"


def deep(levels: int) -> Dataset:
    dataset = make_document()
    below = dataset
    for _ in range(levels):
        below.ContentSequence = [item("126000", ValueType="CONTAINER")]
        below = below.ContentSequence[0]
    return successor(dataset)


def wide() -> Dataset:
    dataset = make_document()
    one = encode_data_set_of(item("121106", ValueType="TEXT", TextValue="a"))
    count = MAX_CONTENT_ITEMS + 1
    raw = (struct.pack("<HHI", 0xFFFE, 0xE000, len(one)) + one) * count
    dataset.add_new(0x0040A730, "UN", raw)
    dataset[0x0040A730].VR = "UN"
    return successor(dataset)


def encode_data_set_of(dataset: Dataset) -> bytes:
    return encode_data_set(dataset, "1.2.840.10008.1.2")  # PS3.5 6.2.2: items of UN are implicit


def mask(**changes: object) -> Dataset:
    dataset = successor(make_mask())
    dataset.SegmentationType = "BINARY"
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = 1, "C5"
    dataset.SegmentSequence = [segment]
    dataset.PerFrameFunctionalGroupsSequence = [frame() for _ in range(3)]
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


def frame() -> Dataset:
    group, identification = Dataset(), Dataset()
    identification.ReferencedSegmentNumber = 1
    group.SegmentIdentificationSequence = [identification]
    return group


META = FileMeta(make_document().SOPClassUID, "2.25.1", "1.2.840.10008.1.2.1", "PACS")
BROKEN = {
    "an empty file": (b"", "file"),
    "no DICOM": (b"x" * 1000, "DICOM file format"),
    "a cut data set": (encode_file_meta(META) + encode_data_set(make_document())[:-1], "truncated"),
    "too deep a tree": (deep(40), "too deeply"),
    "too wide a tree": (wide(), "too many items"),
    "functional groups that are missing": (mask(NumberOfFrames=4), "functional groups"),
    "a billion frames": (mask(NumberOfFrames=1_000_000_000), "functional groups"),
    "a matrix beyond all bounds": (mask(Rows=65535, Columns=65535), "beyond the bounds"),
    "a depth that no mask has": (mask(BitsAllocated=32), "beyond the bounds"),
    "pixels that are cut": (mask(PixelData=b"ab"), "truncated"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_object_cannot_be_read_and_says_why(tmp_path, name):
    dataset, sentence = BROKEN[name]
    told = answered(dataset, tmp_path)["error"]
    assert told["kind"] == "InvalidInstance"
    assert sentence in told["message"]
    assert CANARY not in told["message"]


def test_what_a_parser_stumbles_over_is_named_without_its_text(tmp_path, monkeypatch):
    def stumble(_dataset: object) -> None:
        raise KeyError(CANARY)

    monkeypatch.setattr("dicom_node.review_child.read_document", stumble)
    told = answered(make_document(), tmp_path)["error"]
    assert told == {"kind": "InvalidInstance", "message": "The object is malformed (KeyError)"}


def test_a_whole_mask_of_one_level_is_read(tmp_path):
    level = {"level": "C5", "verdict": "CORRECTED_MASK", "fracture": None, "corrected_level": None}
    said = answered(mask(PixelData=b"\xff" * 6), tmp_path)["review"]
    assert said["levels"] == [{**level, "segment": 1, "overlap": None}]
    assert said["verdict"] == "CORRECTED_MASK"


def test_an_rle_bomb_costs_the_child_and_not_the_parent(tmp_path):
    size = 4096
    dataset = mask(Rows=size, Columns=size, BitsAllocated=8, BitsStored=8, NumberOfFrames=1)
    dataset.PerFrameFunctionalGroupsSequence = [frame()]
    segment = struct.pack("<16I", 1, 64, *[0] * 14) + bytes([0x81, 0xFF]) * 64
    fragments = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(segment)) + segment
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.5"
    dataset.PixelData = fragments
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    with pytest.raises(InvalidInstance):
        read(dataset, tmp_path)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (ReviewLimits(address_space_bytes=64 << 20), "memory|status|unexpected"),
        (ReviewLimits(wall_seconds=0.01), "too long"),
    ],
    ids=["memory", "time"],
)
def test_a_limit_ends_the_child_and_is_told(tmp_path, limits, sentence):
    with pytest.raises(ReadingAborted, match=sentence):
        read(successor(make_document()), tmp_path, limits)


@pytest.mark.parametrize(
    "told",
    [
        "",
        "[]",
        "{}",
        '{"review": 1}',
        '{"review": {"version": 7, "verified": true, "verdict": null, "fracture": null, "levels": []}}',
        '{"review": {"version": 0, "verified": true, "verdict": "SPLENDID", "fracture": null, "levels": []}}',
        '{"error": {"kind": "SystemExit", "message": "x"}}',
        "[" * 100_000,
    ],
)
def test_an_answer_that_is_none_is_not_believed(tmp_path, monkeypatch, told):
    def write(module: str, request: str, folder: Path, wall_seconds: float) -> int:
        (folder / ANSWER_NAME).write_text(told)
        return 0

    monkeypatch.setattr("dicom_node.review_reading.run_child", write)
    with pytest.raises(ReadingAborted, match="no usable answer"):
        read(make_document(), tmp_path)


def test_a_sentence_of_the_child_is_cut_and_free_of_control_characters(tmp_path, monkeypatch):
    def write(module: str, request: str, folder: Path, wall_seconds: float) -> int:
        message = "bad\x1b[2J\n" + "x" * 1000
        (folder / ANSWER_NAME).write_text(json.dumps({"error": {"kind": "InvalidInstance", "message": message}}))
        return 0

    monkeypatch.setattr("dicom_node.review_reading.run_child", write)
    with pytest.raises(DicomNodeError) as raised:
        read(make_mask(sop_class=SegmentationStorage), tmp_path)
    assert str(raised.value).startswith("bad[2Jxxx")
    assert len(str(raised.value)) < 301
