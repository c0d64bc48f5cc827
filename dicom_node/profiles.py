"""Which result objects a destination gets: named profiles and the switches that a site sets on them (data, no objects).

What is sent to whom follows from what viewers and archives were seen to do with each object, not from what is allowed:
``default`` is safe everywhere that was tried, ``air`` is for sites that follow IHE AI Results, ``minimal`` for viewers
that show pictures and text alone, ``ohif`` adds the one form that OHIF takes over as measurements of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeVar

from dicom_node.result_kind import ResultKind, variant_name


class Switch(StrEnum):
    """What a site can change of a profile; the value is how settings write it."""

    LABELMAP = "labelmap"
    """The segmentation as a label map (PS3.3 A.51, 66.7) in place of the BINARY one."""
    KO = "ko"
    """A Key Object Selection of the key slices, where a fracture is suspected."""
    GSPS = "gsps"
    """A Grayscale Softcopy Presentation State of the key slices, where a fracture is suspected."""
    PDF = "pdf"
    """The summary as an Encapsulated PDF."""
    DEFLATED = "deflated"
    """Deflated Explicit VR Little Endian where the peer accepts it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What one destination gets: ``kinds`` in sending order, and whether a deflated transfer syntax is offered."""

    name: str
    kinds: tuple[ResultKind, ...]
    deflated: bool = False

    @property
    def segmentation(self) -> ResultKind | None:
        """The kind of its segmentation; None where it has none."""
        return next((kind for kind in self.kinds if kind in _SEGMENTATIONS), None)


_SEGMENTATIONS = (ResultKind.SEGMENTATION, ResultKind.LABELMAP)
_ALWAYS_BUILT = frozenset(
    {ResultKind.REPORT, ResultKind.AIR_REPORT, ResultKind.NARRATIVE, ResultKind.SUMMARY, ResultKind.PDF}
)
_ADDED: Mapping[Switch, ResultKind] = MappingProxyType(
    {Switch.KO: ResultKind.KEY_OBJECTS, Switch.GSPS: ResultKind.PRESENTATION_STATE, Switch.PDF: ResultKind.PDF}
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                "default",
                (ResultKind.SEGMENTATION, ResultKind.REPORT, ResultKind.NARRATIVE, ResultKind.SUMMARY),
            ),
            Profile("air", (ResultKind.SEGMENTATION, ResultKind.AIR_REPORT, ResultKind.SUMMARY)),
            Profile("minimal", (ResultKind.NARRATIVE, ResultKind.SUMMARY)),
            Profile(
                "ohif",
                (
                    ResultKind.SEGMENTATION,
                    ResultKind.REPORT,
                    ResultKind.ARROWS,
                    ResultKind.NARRATIVE,
                    ResultKind.SUMMARY,
                ),
            ),
        )
    }
)
"""The profiles by name."""


def profile_of(name: str, switches: Iterable[str] = ()) -> Profile:
    """The profile ``name`` with these switches on; ``ValueError`` names the choices, or says what does not fit."""
    if name not in PROFILES:
        raise ValueError(f"{name!r} is not a profile: choose one of {', '.join(PROFILES)}")
    profile = PROFILES[name]
    chosen = {_switch(text) for text in switches}
    kinds = set(profile.kinds) | {_ADDED[switch] for switch in chosen if switch in _ADDED}
    if Switch.LABELMAP in chosen:
        if profile.segmentation is None:
            raise ValueError(f"the profile {name} has no segmentation that could be sent as a LABELMAP")
        kinds = kinds - {ResultKind.SEGMENTATION} | {ResultKind.LABELMAP}
    return replace(
        profile,
        kinds=tuple(kind for kind in ResultKind if kind in kinds),
        deflated=profile.deflated or Switch.DEFLATED in chosen,
    )


def _switch(text: str) -> Switch:
    """The switch that a setting names; ``ValueError`` with the choices otherwise."""
    try:
        return Switch(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a switch: choose among {', '.join(Switch)}") from None


class HasVariant(Protocol):
    """A result object, or a record of one."""

    @property
    def variant(self) -> str:
        """Its stable key in the analysis."""


Result = TypeVar("Result", bound=HasVariant)


def variants_of(profile: Profile, results: Sequence[Result]) -> tuple[Result, ...]:
    """Those of one analysis's results that go to a destination with this profile, in sending order.

    Objects that the analysis had no reason to make (no level found, nothing suspected) are left out. Raises
    ``ValueError`` where the results were built for other profiles and lack what this one must have.
    """
    by_variant = {result.variant: result for result in results}
    nothing_found = not any(kind.value in by_variant for kind in _SEGMENTATIONS)
    segmentation = None if nothing_found else profile.segmentation
    must = _ALWAYS_BUILT if segmentation is None else _ALWAYS_BUILT | {segmentation}
    found = []
    for kind in profile.kinds:
        name = variant_name(kind, segmentation)
        if name in by_variant:
            found.append(by_variant[name])
        elif kind in must:
            raise ValueError(f"the results hold no {name}: they were not built for the profile {profile.name}")
    return tuple(found)
