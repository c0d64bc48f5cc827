"""The result objects of one analysis that the destinations' profiles ask for, each built once."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from PIL import Image
from pydicom import Dataset

from dicom_node.air_report import build_air_report
from dicom_node.arrows import build_arrows
from dicom_node.contours import KeySlice, key_slices
from dicom_node.key_objects import build_key_objects
from dicom_node.narrative import build_narrative
from dicom_node.pdf import build_pdf
from dicom_node.presentation_state import build_presentation_state
from dicom_node.profiles import PROFILES, Profile
from dicom_node.report import build_report
from dicom_node.result_context import ResultContext, ResultObject
from dicom_node.result_kind import ResultKind, variant_name
from dicom_node.segmentation import build_segmentation
from dicom_node.summary import build_summary, render_summary
from model.findings import Vertebra

__all__ = ["ResultContext", "ResultKind", "ResultObject", "build_results"]

_PICTURES = frozenset({ResultKind.SUMMARY, ResultKind.PDF})


def build_results(
    context: ResultContext, profiles: Sequence[Profile] = (PROFILES["default"],)
) -> tuple[ResultObject, ...]:
    """The objects that any of ``profiles`` asks for, in the order to send them.

    No segmentation is made where no level was found, no key objects, presentation state or arrows where nothing is
    suspected. The same context always gives the same bytes. Raises ``ValueError`` when mask and findings name different
    levels: a suspected level must never go missing on the way into a report.

    The voxels are hashed and then the picture is drawn in a thread of its own: both leave the interpreter free.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="results") as pool:
        identity = pool.submit(lambda: context.identity)
        wanted = _wanted(profiles, nothing_found=not context.levels)
        pictured = any(kind in _PICTURES for kind, _ in wanted)
        picture = pool.submit(render_summary, context) if pictured else None
        slices = _key_slices(context)
        identity.result()
        builder = _Builder(context, slices, picture)
        built = [(kind, segmentation, builder.build(kind, segmentation)) for kind, segmentation in wanted]
    return tuple(
        ResultObject(kind, dataset, variant_name(kind, segmentation))
        for kind, segmentation, dataset in built
        if dataset is not None
    )


def _key_slices(context: ResultContext) -> Mapping[Vertebra, KeySlice]:
    """The key slice of every level; ``ValueError`` when mask and findings name different levels."""
    slices = key_slices(context.labels, context.lesions, context.regions)
    if tuple(slices) != context.levels:
        found = ", ".join(level.name for level in slices) or "none"
        named = ", ".join(level.name for level in context.levels) or "none"
        raise ValueError(f"the mask holds the levels {found}, but the findings name {named}")
    return slices


def _wanted(profiles: Sequence[Profile], *, nothing_found: bool) -> list[tuple[ResultKind, ResultKind | None]]:
    """Which kinds are asked for, each with the kind of segmentation that it refers to, in sending order."""
    wanted = {
        (kind, profile.segmentation if kind.refers_to_segmentation and not nothing_found else None)
        for profile in profiles
        for kind in profile.kinds
    }
    order = list(ResultKind)
    return sorted(wanted, key=lambda pair: (order.index(pair[0]), pair[1] or ""))


@dataclass(frozen=True)
class _Builder:
    """What the objects of one analysis share."""

    context: ResultContext
    slices: Mapping[Vertebra, KeySlice]
    drawn: Future[Image.Image] | None

    @property
    def picture(self) -> Image.Image | None:
        """The summary's picture, once it is drawn."""
        return None if self.drawn is None else self.drawn.result()

    @cached_property
    def binary(self) -> Dataset | None:
        """The BINARY segmentation, if a level was found."""
        return build_segmentation(self.context, ResultKind.SEGMENTATION) if self.context.levels else None

    @cached_property
    def labelmap(self) -> Dataset | None:
        """The LABELMAP segmentation, if a level was found."""
        return build_segmentation(self.context, ResultKind.LABELMAP) if self.context.levels else None

    def segmentation(self, kind: ResultKind | None) -> Dataset | None:
        """The segmentation of a kind."""
        if kind is None:
            return None
        return self.labelmap if kind is ResultKind.LABELMAP else self.binary

    def build(self, kind: ResultKind, segmentation: ResultKind | None) -> Dataset | None:
        """One object, or None where there is no reason for it."""
        context, slices = self.context, self.slices
        builders: Mapping[ResultKind, Callable[[], Dataset | None]] = {
            ResultKind.SEGMENTATION: lambda: self.segmentation(kind),
            ResultKind.LABELMAP: lambda: self.segmentation(kind),
            ResultKind.REPORT: lambda: build_report(context, slices, self.segmentation(segmentation)),
            ResultKind.AIR_REPORT: lambda: build_air_report(context, slices, self.segmentation(segmentation)),
            ResultKind.ARROWS: lambda: build_arrows(context, slices),
            ResultKind.NARRATIVE: lambda: build_narrative(context),
            ResultKind.SUMMARY: lambda: build_summary(context, self.picture),
            ResultKind.PDF: lambda: build_pdf(context, self.picture),
            ResultKind.PRESENTATION_STATE: lambda: build_presentation_state(context, slices),
            ResultKind.KEY_OBJECTS: lambda: build_key_objects(context, slices),
        }
        return builders[kind]()
