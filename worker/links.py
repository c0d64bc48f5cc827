"""What is done at a destination, by DIMSE or by DICOMweb: send, ask for commitment, query (port and adapters)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from typing import Protocol

from dicom_node import qido, queries, scu, stow
from dicom_node.commitment import CommitmentOptions, InstanceRef, collect_reports, request_commitment
from dicom_node.commitment_report import CommitmentPort
from dicom_node.errors import PeerError
from dicom_node.node import Peer, deterministic_uid
from dicom_node.scu import SendOutcome
from dicom_node.stow import HttpTimeouts, StowTarget
from dicom_node.study_attributes import StudyAttributes
from dicom_node.tls import UnusableTlsFiles, client_context
from worker.destinations import Destination

_HTTP_TIMEOUTS = HttpTimeouts(total=300.0)
_NO_STUDY = str(deterministic_uid("a study that nobody has"))


class Link(Protocol):
    """The way to one destination; every method raises ``PeerError`` when it does not answer."""

    def verify(self) -> None:
        """See that it answers."""

    def send(self, files: Sequence[Path]) -> tuple[SendOutcome, ...]:
        """Send instances; what became of each."""

    def request_commitment(self, instances: Sequence[InstanceRef], transaction_uid: str) -> None:
        """Ask for storage commitment; every report that comes meanwhile is in the records when this returns."""

    def collect_reports(self) -> None:
        """Take commitment reports that the destination kept back into the records."""

    def study_attributes(self, study_instance_uid: str) -> StudyAttributes | None:
        """Patient and study as the destination has them; None where it does not know the study."""

    def instances_there(self, study_instance_uid: str, sop_instance_uids: Sequence[str]) -> frozenset[str]:
        """Which of these instances it has."""


Links = Callable[[Destination], Link]
"""Makes the link to a destination; raises ``PeerError`` when files that it needs cannot be used."""


@dataclass(frozen=True, slots=True)
class LinkMaker:
    """Makes the real links; reports of storage commitment that come on them go to ``reports``."""

    ae_title: str
    reports: CommitmentPort | None = None

    def __call__(self, destination: Destination) -> Link:
        """The link to a destination; files of certificates and tokens are read anew each time."""
        try:
            tls = client_context(destination.tls) if destination.tls is not None else None
        except UnusableTlsFiles as error:
            raise PeerError(str(error), code=error.code, permanent=False) from error
        if destination.peer is None:
            return WebLink(_web_target(destination))
        return DimseLink(destination.peer, self.ae_title, tls, self.reports, destination.profile.deflated)


@dataclass(frozen=True, slots=True)
class DimseLink:
    """A DICOM peer: C-STORE, storage commitment, C-FIND."""

    peer: Peer
    ae_title: str
    tls: SSLContext | None = None
    reports: CommitmentPort | None = None
    deflated: bool = False

    def verify(self) -> None:
        """C-ECHO."""
        scu.echo(self.peer, self.ae_title, tls=self.tls)

    def send(self, files: Sequence[Path]) -> tuple[SendOutcome, ...]:
        """C-STORE over one association."""
        return scu.send(files, self.peer, self.ae_title, tls=self.tls, deflate=self.deflated)

    def request_commitment(self, instances: Sequence[InstanceRef], transaction_uid: str) -> None:
        """N-ACTION, and the report if it comes on the same association."""
        request_commitment(instances, self.peer, self.ae_title, transaction_uid, self._options())

    def collect_reports(self) -> None:
        """An association for reports alone."""
        collect_reports(self.peer, self.ae_title, self._options())

    def study_attributes(self, study_instance_uid: str) -> StudyAttributes | None:
        """C-FIND at the level of the study."""
        return queries.study_attributes(study_instance_uid, self.peer, self.ae_title, tls=self.tls)

    def instances_there(self, study_instance_uid: str, sop_instance_uids: Sequence[str]) -> frozenset[str]:
        """C-FIND at the level of the instance."""
        return queries.instances_there(study_instance_uid, sop_instance_uids, self.peer, self.ae_title, tls=self.tls)

    def _options(self) -> CommitmentOptions:
        return CommitmentOptions(tls=self.tls, reports=self.reports)


@dataclass(frozen=True, slots=True)
class WebLink:
    """A DICOMweb service: STOW-RS and QIDO-RS; it has no storage commitment."""

    target: StowTarget

    def verify(self) -> None:
        """A query for a study that nobody has."""
        qido.study_attributes(_NO_STUDY, self.target, _HTTP_TIMEOUTS)

    def send(self, files: Sequence[Path]) -> tuple[SendOutcome, ...]:
        """STOW-RS, an instance a request."""
        return stow.store(files, self.target, _HTTP_TIMEOUTS)

    def request_commitment(self, instances: Sequence[InstanceRef], transaction_uid: str) -> None:
        """Never: the file of destinations refuses it."""
        del instances, transaction_uid
        raise PeerError(f"{self.target} has no storage commitment")

    def collect_reports(self) -> None:
        """There are none."""

    def study_attributes(self, study_instance_uid: str) -> StudyAttributes | None:
        """QIDO-RS for the study."""
        return qido.study_attributes(study_instance_uid, self.target, _HTTP_TIMEOUTS)

    def instances_there(self, study_instance_uid: str, sop_instance_uids: Sequence[str]) -> frozenset[str]:
        """QIDO-RS for each instance."""
        return qido.instances_there(study_instance_uid, sop_instance_uids, self.target, _HTTP_TIMEOUTS)


def _web_target(destination: Destination) -> StowTarget:
    """The service with the token and the certificates of the destination's files."""
    tls = destination.tls
    try:
        token = destination.token_file.read_text(encoding="ascii").strip() if destination.token_file else None
        return StowTarget(
            destination.url or "",
            token=token,
            trusted=tls.trusted if tls else None,
            certificate=tls.certificate if tls else None,
            key=tls.key if tls else None,
        )
    except OSError as error:
        message = f"the token of {destination} cannot be read ({error.strerror})"
        raise PeerError(message, code="TLS_FILES", permanent=False) from None
    except ValueError:  # its text is ours, yet one of a decoder's would hold the token
        message = f"the token of {destination} is none: letters, digits and ._~+/- only"
        raise PeerError(message, code="TLS_FILES", permanent=False) from None
