"""The figures that are counted into the records and shown at ``/metrics``: names, meanings and labels (pure).

Names follow Prometheus' conventions; no label holds an identity, a UID or a text of unbounded variety.
"""

import bisect
import json
from dataclasses import dataclass

OTHER = "other"
"""The label of whatever is not told apart, so that no stranger makes labels without end."""

MAX_CALLING_AE_TITLES = 50
"""AE titles that are told apart beside those of ``CSPINE_ALLOWED_CALLING_AE_TITLES``: the first that sent a study."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One family of series by its name, what it means, and the names of its labels."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()

    def series(self, *values: str) -> "Series":
        """The series with these values of the labels; raises ValueError when there is not one for each label."""
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {', '.join(self.labels) or 'none'}")
        return Series(self.name, json.dumps(values, ensure_ascii=False))


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """One number by the name of its figure and the values of its labels, as the records keep them."""

    name: str
    labels: str

    @property
    def values(self) -> tuple[str, ...]:
        """The values of the labels."""
        return tuple(json.loads(self.labels))


@dataclass(frozen=True, slots=True)
class Histogram:
    """A family of histograms; a bucket is kept for itself and added up when it is shown."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]

    @property
    def buckets(self) -> Figure:
        """How many observations each bucket alone has: the last label is its upper bound."""
        return Figure(f"{self.name}_bucket", self.meaning, (*self.labels, "le"))

    @property
    def sums(self) -> Figure:
        """The sum of the observations."""
        return Figure(f"{self.name}_sum", self.meaning, self.labels)

    def observation(self, value: float, *labels: str) -> dict[Series, float]:
        """What one observation adds."""
        place = bisect.bisect_left(self.bounds, value)
        bound = str(self.bounds[place]) if place < len(self.bounds) else "+Inf"
        return {self.buckets.series(*labels, bound): 1.0, self.sums.series(*labels): value}


DURATIONS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0)
"""Seconds: a second to a day."""

STAGES = ("receive", "wait", "analyze", "send", "confirm")
"""What a study goes through, in order."""

# of the listener
ASSOCIATIONS_ACCEPTED = Figure("cspine_associations_accepted", "Associations that the listener accepted.")
ASSOCIATIONS_REJECTED = Figure(
    "cspine_associations_rejected", "Associations and connections that the listener turned away.", ("reason",)
)
INSTANCES_RECEIVED = Figure(
    "cspine_instances_received", "Instances that the listener stored; one that is sent again counts again."
)
RECEIVED_BYTES = Figure("cspine_received_bytes", "Bytes of the data sets of stored instances.")
INSTANCES_IGNORED = Figure(
    "cspine_instances_ignored", "Instances that were answered with success and not kept, being of no use here."
)
INSTANCES_REFUSED = Figure(
    "cspine_instances_refused", "Instances that the listener answered with a failure status.", ("status",)
)

# of the timelines of studies
STUDIES_RECEIVED = Figure("cspine_studies_received", "New studies by who sent them.", ("calling_ae_title",))
LAST_STUDY = Figure(
    "cspine_last_study_timestamp_seconds", "When the last new study came from this sender.", ("calling_ae_title",)
)
STUDY_MOVES = Figure("cspine_study_moves", "Moves of studies between states by their cause.", ("cause",))
STUDY_FAILURES = Figure(
    "cspine_study_failures", "Moves of studies for a failure by its code: ended, skipped or postponed.", ("code", "end")
)
ANALYSES = Figure(
    "cspine_analyses",
    "Finished analyses by the model that answered, and whether a fracture was suspected.",
    ("bundle", "version", "suspected"),
)
STAGE_SECONDS = Histogram(
    "cspine_study_stage_duration_seconds",
    "How long studies took: to be received, to wait for a worker, to be analyzed, sent, confirmed.",
    ("stage",),
    DURATIONS,
)
RESULT_SECONDS = Histogram(
    "cspine_study_result_duration_seconds",
    "Time from the last instance of a study until every destination had its results.",
    (),
    DURATIONS,
)
SPOOL_INSTANCES = Figure("cspine_spool_instances", "Instances in the spool.")
SPOOL_BYTES = Figure("cspine_spool_size_bytes", "Bytes of the instances in the spool.")
TALLIED = Figure("tallied", "Key of the last row that was counted.", ("table",))
"""No figure to be shown: where the next count begins."""

# of deliveries
DELIVERIES = Figure("cspine_deliveries", "Result objects that destinations accepted.", ("destination",))
DELIVERY_FAILURES = Figure(
    "cspine_delivery_failures",
    "Tries to send that failed: by the code of the peer's absence, once a try, or its status, once an object.",
    ("destination", "code"),
)
CONFIRMATIONS = Figure(
    "cspine_confirmations",
    "Result objects that destinations committed themselves to or were found to have.",
    ("destination",),
)
COMMITMENT_FAILURES = Figure(
    "cspine_commitment_failures",
    "Failed confirmations: objects that are not kept, by the reason; requests and queries that failed, by the code.",
    ("destination", "reason"),
)

COUNTERS = (
    ASSOCIATIONS_ACCEPTED,
    ASSOCIATIONS_REJECTED,
    INSTANCES_RECEIVED,
    RECEIVED_BYTES,
    INSTANCES_IGNORED,
    INSTANCES_REFUSED,
    STUDIES_RECEIVED,
    STUDY_MOVES,
    STUDY_FAILURES,
    ANALYSES,
    DELIVERIES,
    DELIVERY_FAILURES,
    CONFIRMATIONS,
    COMMITMENT_FAILURES,
)
HISTOGRAMS = (STAGE_SECONDS, RESULT_SECONDS)
GAUGES = (LAST_STUDY, SPOOL_INSTANCES, SPOOL_BYTES)


def calling_ae_title(title: str, allowed: frozenset[str], known: frozenset[str]) -> str:
    """The label of a calling AE title: itself if it is allowed by name, known, or among the first few; else ``other``.

    Where everybody may send, a stranger could take all places of the first few: name those who may.
    """
    if title in allowed or title in known or len(known - allowed) < MAX_CALLING_AE_TITLES:
        return title
    return OTHER
