"""Where a DICOMweb service is and how this node proves itself there."""

import re
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from dicom_node.tls import TlsFiles, client_context

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 2.1


@dataclass(frozen=True, slots=True)
class StowTarget:
    """A service: its base URL, and a bearer token or a certificate of ours where it asks for one.

    Raises ``ValueError``, which never holds the token, for what cannot be used; a token travels over TLS, or to this
    machine itself.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    trusted: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        object.__setattr__(self, "url", parts.geturl().rstrip("/"))  # with a scheme in lower case
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("a DICOMweb service has an address such as https://pacs.example/dicom-web")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the address of a DICOMweb service holds no user name: use a token or a certificate")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ValueError("a bearer token has letters, digits and ._~+/- only")
        if parts.scheme == "http" and self.token is not None and not _is_loopback(parts.hostname):
            raise ValueError("a bearer token is sent over https only")
        if parts.scheme == "http" and (self.trusted or self.certificate):
            raise ValueError("certificates are for https")
        TlsFiles(self.trusted, self.certificate, self.key)

    def __str__(self) -> str:
        return self.url

    def tls_context(self) -> ssl.SSLContext | None:
        """Return how to connect over TLS, None for plain HTTP; raises ``UnusableTlsFiles``."""
        if self.url.startswith("http:"):
            return None
        return client_context(TlsFiles(self.trusted, self.certificate, self.key))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
