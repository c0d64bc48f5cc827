"""The default set of result objects of one analysis: segmentation, report, narrative, summary."""

from dicom_node.contours import key_slices
from dicom_node.narrative import build_narrative
from dicom_node.report import build_report
from dicom_node.result_context import ResultContext, ResultKind, ResultObject
from dicom_node.segmentation import build_segmentation
from dicom_node.summary import build_summary

__all__ = ["ResultContext", "ResultKind", "ResultObject", "build_results"]


def build_results(context: ResultContext) -> tuple[ResultObject, ...]:
    """The objects to store and send, in the order to send them; no segmentation where no level was found.

    The same context always gives the same bytes. Raises ``ValueError`` when mask and findings name different levels:
    a suspected level must never go missing on the way into a report.
    """
    slices = key_slices(context.labels, context.lesions)
    if tuple(slices) != context.levels:
        found = ", ".join(level.name for level in slices) or "none"
        named = ", ".join(level.name for level in context.levels) or "none"
        raise ValueError(f"the mask holds the levels {found}, but the findings name {named}")
    objects = []
    segmentation = None
    if context.levels:
        segmentation = build_segmentation(context)
        objects.append(ResultObject(ResultKind.SEGMENTATION, segmentation))
    objects.append(ResultObject(ResultKind.REPORT, build_report(context, slices, segmentation)))
    objects.append(ResultObject(ResultKind.NARRATIVE, build_narrative(context)))
    objects.append(ResultObject(ResultKind.SUMMARY, build_summary(context)))
    return tuple(objects)
