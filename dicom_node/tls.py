"""TLS towards peers: the BCP 195 secure transport connection profile of PS3.15 (B.9, B.12), certificates from files."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import DicomNodeError

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
"""Forward secrecy and authenticated encryption, as RFC 9325 4.2 (BCP 195) asks for; TLS 1.3 has nothing else."""


class UnusableTlsFiles(DicomNodeError):
    """A certificate or key file that cannot be used; the message names the file and what to do."""

    code = "TLS_FILES"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificates that a peer's is checked by, and our own with its key where the peer asks for one.

    Without ``trusted`` the certificates of the operating system are trusted. ``certificate`` holds our certificate and,
    after it, the intermediate ones; ``key`` is not encrypted.
    """

    trusted: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate needs its key, and a key its certificate")


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return how to connect with these files: TLS 1.2 or later, the peer's certificate and name checked.

    Raises ``UnusableTlsFiles``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    if files.trusted is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(files.trusted)
        except (OSError, ssl.SSLError) as error:
            raise UnusableTlsFiles(f"{files.trusted} holds no certificate that can be read: name a PEM file") from error
    if files.certificate is not None and files.key is not None:
        try:
            context.load_cert_chain(files.certificate, files.key, password="")
        except (OSError, ssl.SSLError) as error:
            message = f"{files.certificate} and {files.key} are no certificate and key: name PEM files, not encrypted"
            raise UnusableTlsFiles(message) from error
    return context


def handshake_failure(error: ssl.SSLError) -> str:
    """Return why a handshake failed, in OpenSSL's fixed words."""
    return str(getattr(error, "verify_message", "") or error.reason or "the handshake failed")
