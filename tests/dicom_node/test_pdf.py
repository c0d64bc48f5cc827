"""The document holds the summary's picture, the same bytes every time, and no identity."""

import re
from io import BytesIO

import numpy as np
from PIL import Image

from dicom_node.encode import encode
from dicom_node.pdf import build_pdf, pdf_of
from dicom_node.summary import SIZE, render_summary
from tests.dicom_node.necks import NOTHING_FOUND, POSITIVE

CONTEXT = NOTHING_FOUND.context()
PICTURE = render_summary(CONTEXT)


def document(dataset):
    return dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength]


def test_it_is_an_encapsulated_pdf_of_the_study_that_names_the_summary_as_its_source():
    dataset = build_pdf(CONTEXT, PICTURE)
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert (dataset.Modality, dataset.MIMETypeOfEncapsulatedDocument) == ("DOC", "application/pdf")
    assert dataset.StudyInstanceUID == CONTEXT.study_instance_uid
    assert dataset.SourceInstanceSequence[0].ReferencedSOPInstanceUID == CONTEXT.uid("instance", "summary")
    assert (dataset.BurnedInAnnotation, dataset.DocumentTitle[-16:]) == ("NO", "AI, not verified")
    assert (dataset.ContentDate, dataset.ContentTime) == ("20260102", "030405.678900")
    assert len(dataset.EncapsulatedDocument) % 2 == 0


def test_the_same_picture_gives_the_same_document_without_a_date():
    first = document(build_pdf(CONTEXT, PICTURE))
    assert first == pdf_of(PICTURE)
    assert first.startswith(b"%PDF")
    assert not re.search(rb"CreationDate|ModDate|/Producer", first)
    assert encode(build_pdf(CONTEXT)) == encode(build_pdf(CONTEXT, PICTURE))


def test_no_identity_is_in_the_document():
    context = POSITIVE.context()
    said = document(build_pdf(context))
    header = context.series.headers[0]
    for value in (header.PatientName, header.PatientID, header.StudyInstanceUID):
        assert str(value).encode() not in said


def test_its_only_page_shows_the_picture_of_the_summary_as_wide_as_paper():
    said = document(build_pdf(CONTEXT, PICTURE))
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([0-9.]+) ([0-9.]+) \]", said)
    assert [round(float(side) / 72, 1) for side in box] == [8.3, 8.3]
    start = said.index(b"\xff\xd8\xff")
    shown = np.asarray(Image.open(BytesIO(said[start : said.index(b"endstream", start)]))).astype(int)
    assert shown.shape == (SIZE, SIZE, 3)
    assert np.abs(shown - np.asarray(PICTURE).astype(int)).mean() < 2
