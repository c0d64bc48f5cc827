"""Where results go: each destination with its profile, how it is reached, and how it confirms what it keeps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from dicom_node.node import Peer
from dicom_node.profiles import PROFILES, Profile
from dicom_node.tls import TlsFiles


class CommitmentMode(StrEnum):
    """How a destination confirms that it keeps what it accepted."""

    STORAGE_COMMITMENT = "storage-commitment"
    QUERY = "query"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Destination:
    """One receiver of results: a DICOM ``peer``, or the base ``url`` of a DICOMweb service.

    ``commitment_wait_seconds`` is how long a report of storage commitment is waited for before the destination is
    queried, or how long to wait before the query where that alone confirms. ``reconcile`` asks the destination for
    patient and study before anything is sent. One that is not ``automatic`` gets only what an operator sends there.
    """

    name: str
    peer: Peer | None = None
    url: str | None = None
    profile: Profile = PROFILES["default"]
    tls: TlsFiles | None = None
    token_file: Path | None = field(default=None, repr=False)
    commitment: CommitmentMode = CommitmentMode.NONE
    commitment_wait_seconds: float = 0.0
    reconcile: bool = False
    automatic: bool = True

    @property
    def confirms(self) -> bool:
        """Whether a confirmation is awaited after it accepted everything."""
        return self.commitment is not CommitmentMode.NONE

    def __str__(self) -> str:
        address = str(self.peer or self.url)
        return address if address == self.name else f"{self.name} ({address})"


def profiles_of(destinations: Sequence[Destination]) -> tuple[Profile, ...]:
    """The profiles that results are built for; the default one where there is no destination yet."""
    return tuple({destination.profile: None for destination in destinations}) or (PROFILES["default"],)
