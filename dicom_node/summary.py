"""The findings as one picture, an RGB Secondary Capture that every viewer shows (PS3.3 A.8.1); no identity in it."""

from collections.abc import Sequence

import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node import codes
from dicom_node.orientation import hu_in_standard_frame, labels_in_standard_frame
from dicom_node.planes import Volume
from dicom_node.provenance import common_arguments, stamp
from dicom_node.rendering import draw_views, new_picture
from dicom_node.report_content import evidence
from dicom_node.result_context import ResultContext
from dicom_node.result_kind import ResultKind
from dicom_node.sentences import (
    DISCLAIMER,
    SUPERSEDES,
    WARNING,
    Answer,
    answer,
    conclusion,
    limitation_sentences,
    percent,
)
from dicom_node.source_headers import nameless
from dicom_node.views import SCALE, SUSPECTED_RGB, TEXT_RGB, WARNING_RGB, Box, font
from model.findings import StudyFindings, Vertebra

SIZE = 1024
"""Width and height of the summary in pixels."""

BANNER_RGB = {Answer.PRESENT: (120, 0, 0), Answer.ABSENT: (30, 40, 55), Answer.UNDETERMINED: (105, 70, 0)}
DIM_RGB = (150, 150, 150)
REMARK_SIZES = ((17, 6), (15, 3), (13, 2), (12, 1))
"""Letters and gap between paragraphs of the limitations, from the most legible to one in which all fit at once."""
REMARKS_LEFT = 550
REMARKS_WIDTH = SIZE - REMARKS_LEFT - 12
REMARKS_HEIGHT = 220


def build_summary(context: ResultContext, picture: Image.Image | None = None) -> Dataset:
    """The summary of any outcome as a Secondary Capture Image; ``picture`` is `render_summary`'s, if there is one."""
    header = context.header
    dataset = SCImage.from_ref_dataset(
        ref_dataset=nameless(header),
        pixel_array=np.asarray(picture or render_summary(context)),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=header.get("SpecificCharacterSet"),
        **common_arguments(context, ResultKind.SUMMARY, "Summary"),
    )
    dataset.PatientOrientation = []  # a montage has none; viewers would print letters at its edges
    dataset.ConversionType = "WSD"
    dataset.BodyPartExamined = header.get("BodyPartExamined") or "CSPINE"
    dataset.BurnedInAnnotation = "NO"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.LossyImageCompression = "00"
    dataset.DerivationDescription = DISCLAIMER
    dataset.SourceImageSequence = [_source(item) for item in evidence(context, header, (context.labels.shape[0] // 2,))]
    stamp(dataset, context, header)
    return dataset


def render_summary(context: ResultContext) -> Image.Image:
    """The picture itself, RGB, 1024 x 1024."""
    image = new_picture(SIZE, SIZE)
    draw = ImageDraw.Draw(image)
    _draw_head(draw, context)
    draw_views(image, Box(0, 104, SIZE, 596), _volume(context), context.findings)
    _draw_table(draw, context.findings)
    _draw_remarks(draw, limitation_sentences(context.findings))
    _draw_foot(draw, context)
    return image.reduce(SCALE)


def _volume(context: ResultContext) -> Volume:
    """Voxels and what was found in them, in the standard frame."""
    series, lesions, activation = context.series, context.lesions, context.activation
    hu, spacing_mm = hu_in_standard_frame(series)
    return Volume(
        hu,
        labels_in_standard_frame(series, context.labels),
        spacing_mm,
        lesions=None if lesions is None else labels_in_standard_frame(series, lesions),
        activation=None if activation is None else labels_in_standard_frame(series, activation),
    )


def _source(item: Dataset) -> Dataset:
    """A Source Image Sequence item (PS3.3 C.12.4)."""
    source = Dataset()
    source.ReferencedSOPClassUID = item.SOPClassUID
    source.ReferencedSOPInstanceUID = item.SOPInstanceUID
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = codes.SOURCE_IMAGE_FOR_MONTAGE[:3]
    source.PurposeOfReferenceCodeSequence = [purpose]
    return source


def _draw_head(draw: ImageDraw.ImageDraw, context: ResultContext) -> None:
    """The conclusion on a colored banner, title and warning; viewers lay their players over what is below the top."""
    findings = context.findings
    draw.rectangle((0, 0, SIZE * SCALE, 62 * SCALE), fill=BANNER_RGB[answer(findings)])
    size = 24
    lines = wrapped(draw, conclusion(findings), size, SIZE - 24)
    if len(lines) > 1:
        size = 19
        lines = wrapped(draw, conclusion(findings), size, SIZE - 24)[:3]
    middle = 31 - (len(lines) - 1) * (size + 1) / 2
    for number, line in enumerate(lines):
        _text(draw, (12, middle + number * (size + 1)), line, size, (255, 255, 255))
    _text(draw, (12, 83), "Cervical spine CT: fracture detection", 22, TEXT_RGB)
    _text(draw, (SIZE - 12, 83), "AI, not verified", 22, WARNING_RGB, anchor="rm")


def _draw_table(draw: ImageDraw.ImageDraw, findings: StudyFindings) -> None:
    """The table of all seven levels: probability as bar and number, and what follows from it."""
    top = 716
    for x, title in ((12, "Level"), (70, "Fracture probability"), (330, "Result")):
        _text(draw, (x, top), title, 16, DIM_RGB)
    found = {finding.vertebra: finding for finding in findings.vertebrae}
    for number, level in enumerate(Vertebra, start=1):
        y = top + number * 29
        finding = found.get(level)
        color = SUSPECTED_RGB if finding and finding.fractured else TEXT_RGB if finding else DIM_RGB
        _text(draw, (12, y), level.name, 20, color)
        if finding is None:
            _text(draw, (330, y), "not found, not assessed", 18, color)
            continue
        draw.rectangle((70 * SCALE, (y - 8) * SCALE, 250 * SCALE, (y + 8) * SCALE), outline=DIM_RGB, width=1)
        end = 70 + 180 * finding.probability
        draw.rectangle((70 * SCALE, (y - 8) * SCALE, end * SCALE, (y + 8) * SCALE), fill=color)
        mark = (70 + 180 * findings.threshold) * SCALE
        draw.line((mark, (y - 11) * SCALE, mark, (y + 11) * SCALE), fill=WARNING_RGB, width=SCALE)
        _text(draw, (312, y), percent(finding.probability), 18, color, anchor="rm")
        _text(draw, (330, y), "suspected fracture" if finding.fractured else "no suspected fracture", 18, color)
    if not found:
        return
    _text(draw, (12, top + 8 * 29), f"Any level: {percent(findings.probability)}", 18, TEXT_RGB)
    _text(draw, (160, top + 8 * 29), f"| = threshold {percent(findings.threshold)}", 16, WARNING_RGB)


def _draw_remarks(draw: ImageDraw.ImageDraw, limitations: Sequence[str]) -> None:
    """The limitations beside the table, in the largest letters in which all of them fit."""
    left, top = REMARKS_LEFT, 716
    _text(draw, (left, top), "Limitations", 16, DIM_RGB)
    color = WARNING_RGB if limitations else TEXT_RGB
    for size, gap in REMARK_SIZES:
        paragraphs = [wrapped(draw, text, size, REMARKS_WIDTH) for text in limitations or ("None detected.",)]
        if sum(len(lines) * (size + 3) + gap for lines in paragraphs) <= REMARKS_HEIGHT:
            break
    y = float(top + 27)
    for lines in paragraphs:
        for line in lines:
            _text(draw, (left, y), line, size, color)
            y += size + 3
        y += gap


def _draw_foot(draw: ImageDraw.ImageDraw, context: ResultContext) -> None:
    """Disclaimer, product and model."""
    draw.line((0, 966 * SCALE, SIZE * SCALE, 966 * SCALE), fill=DIM_RGB, width=SCALE)
    _text(draw, (12, 982), WARNING, 18, WARNING_RGB)
    if context.supersedes:
        _text(draw, (SIZE - 12, 982), SUPERSEDES, 16, TEXT_RGB, anchor="rm")
    device = context.device
    model = f"{context.bundle_name} {context.bundle_version} ({context.bundle_sha256[:12]})"
    _text(draw, (12, 1007), f"{device.manufacturer} {device.software_version}, model {model}"[:110], 16, DIM_RGB)


def wrapped(draw: ImageDraw.ImageDraw, text: str, size: int, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` final pixels, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font=font(size)) > width * SCALE:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    color: tuple[int, int, int],
    *,
    anchor: str = "lm",
) -> None:
    """Write one line of text at a point of the final picture."""
    draw.text((at[0] * SCALE, at[1] * SCALE), text, fill=color, font=font(size), anchor=anchor)
