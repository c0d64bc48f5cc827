"""What the parent asks of the process that reads a review: the object's file, and our results to compare it with."""

import json
from dataclasses import asdict, dataclass, field
from typing import Self

from model.findings import Vertebra

ANSWER_NAME = "review.json"


@dataclass(frozen=True, slots=True)
class ReviewLimits:
    """What reading one object may cost: the child's resource limits, and the parent's patience in seconds."""

    address_space_bytes: int = 4 << 30
    cpu_seconds: int = 60
    wall_seconds: float = 180.0


@dataclass(frozen=True, slots=True)
class ResultFile:
    """One result object of ours."""

    path: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class ResultVersion:
    """The results of one analysis: their objects, and the levels where they suspect a fracture."""

    objects: tuple[ResultFile, ...]
    suspected: tuple[Vertebra, ...]


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """The object's file, the versions of our results of its study, where the answer goes, and the limits."""

    path: str
    versions: tuple[ResultVersion, ...]
    scratch: str
    limits: ReviewLimits = field(default_factory=ReviewLimits)

    def to_json(self) -> str:
        """The request as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The request out of JSON that the parent wrote."""
        values = json.loads(text)
        versions = tuple(
            ResultVersion(
                tuple(ResultFile(**item) for item in version["objects"]),
                tuple(Vertebra(level) for level in version["suspected"]),
            )
            for version in values["versions"]
        )
        return cls(values["path"], versions, values["scratch"], ReviewLimits(**values["limits"]))
