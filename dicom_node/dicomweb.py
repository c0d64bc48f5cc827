"""A conversation with a DICOMweb service (PS3.18 8) by dicomweb-client, over a session that trusts nobody.

Answers are bounded in size and time and read here, from their bytes: dicomweb-client would follow redirects with what
it sends, log what services say, expand XML entities and make pydicom values of whatever comes.
"""

import json
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import Dataset

from dicom_node.deadlines import Deadline
from dicom_node.dicomweb_target import StowTarget
from dicom_node.errors import PeerError
from dicom_node.http_session import Answer, BoundedAdapter, UnusableAnswer
from dicom_node.http_statuses import describe_http_status, is_success, is_transient
from dicom_node.tls import handshake_failure

_NEVER_CHUNKED = 1 << 40  # bytes: each request says how long it is


@dataclass(frozen=True, slots=True)
class HttpTimeouts:
    """How long to wait, in seconds: for the connection, in silence, and for everything together."""

    connection: float = 10.0
    silence: float = 60.0
    total: float = 600.0


DEFAULT_HTTP_TIMEOUTS = HttpTimeouts()


class DicomwebService:
    """Requests to one service; each raises ``PeerError`` when there is no answer within the bounds."""

    def __init__(self, target: StowTarget, client: DICOMwebClient, adapter: BoundedAdapter) -> None:
        self._target = target
        self._client = client
        self._adapter = adapter

    def store(self, dataset: Dataset) -> Answer:
        """Send one instance by STOW-RS and return the answer, whatever its status (PS3.18 10.5)."""
        return self._answer(lambda: self._client.store_instances([dataset]))

    def search_studies(self, **query: Any) -> list[Any]:
        """Search by QIDO-RS and return the decoded list (PS3.18 10.6); the query as of dicomweb-client."""
        return self._found(self._answer(lambda: self._client.search_for_studies(**query)))

    def search_instances(self, study_instance_uid: str, **query: Any) -> list[Any]:
        """Search for instances of a study and return the decoded list; a study that is not there has none."""
        answer = self._answer(lambda: self._client.search_for_instances(study_instance_uid, **query))
        return [] if answer.status == 404 else self._found(answer)

    def _answer(self, request: Callable[[], object]) -> Answer:
        self._adapter.answer = None
        try:
            request()
        except requests.HTTPError:
            pass  # the answer has its status
        except requests.RequestException as error:
            raise _failure(error, self._target) from None  # the error may quote the peer
        if self._adapter.answer is None:
            raise PeerError(f"{self._target} was not asked")
        return self._adapter.answer

    def _found(self, answer: Answer) -> list[Any]:
        if not is_success(answer.status):
            message = f"{self._target} answered the query: {describe_http_status(answer.status)}"
            raise PeerError(message, code="PEER_REFUSED", permanent=not is_transient(answer.status))
        found = decoded(answer.body) if answer.body else []
        if not isinstance(found, list):
            raise PeerError(f"{self._target} gave a malformed answer to the query", code="PEER_ANSWER")
        return found


@contextmanager
def dicomweb_service(target: StowTarget, timeouts: HttpTimeouts = DEFAULT_HTTP_TIMEOUTS) -> Iterator[DicomwebService]:
    """Talk to ``target``; raises ``UnusableTlsFiles`` where its files cannot be used."""
    for name in ("dicomweb_client", "retrying", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # their records quote what services say
    with Deadline(timeouts.total) as deadline, _Session() as session:
        adapter = BoundedAdapter(target.tls_context(), deadline)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        if target.token is not None:
            session.headers["Authorization"] = f"Bearer {target.token}"
        client = DICOMwebClient(
            target.url,
            session=session,
            chunk_size=_NEVER_CHUNKED,
            permissive_uid=False,
            timeout=(timeouts.connection, timeouts.silence),
        )
        client.set_http_retry_params(retry=False)
        yield DicomwebService(target, client, adapter)


def decoded(body: bytes) -> Any:
    """Return what JSON text says, None when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


class _Session(requests.Session):
    """Takes nothing from the environment (proxies, .netrc, certificates), keeps no cookies, follows no redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.headers.update({"Accept": "application/dicom+json", "Accept-Encoding": "identity", "User-Agent": "cspine"})

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no address: a request may carry a token, a certificate and a patient's images."""


def _failure(error: requests.RequestException, target: StowTarget) -> PeerError:
    """Return why there is no answer."""
    if isinstance(error, UnusableAnswer):
        return PeerError(f"{target} gave an answer that cannot be used", code="PEER_ANSWER")
    cause: object = error
    for _ in range(8):  # the errors of requests and urllib3 wrap one another
        if isinstance(cause, ssl.SSLError):
            message = f"{target} cannot be reached over TLS: {handshake_failure(cause)}"
            return PeerError(message, code="PEER_TLS", permanent=False)
        arguments = getattr(cause, "args", ())
        cause = getattr(cause, "reason", None) or (arguments[0] if arguments else None)
    return PeerError(f"{target} cannot be reached or does not answer", code="PEER_UNREACHABLE", permanent=False)
