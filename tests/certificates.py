"""Certificates for tests, made with the openssl program: an authority, a server on loopback, a client, a stranger."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.processes import require

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Certificates:
    """``server`` is valid for 127.0.0.1 and localhost; ``stranger`` is signed by nobody that is trusted."""

    authority: Path
    server: Pair
    client: Pair
    stranger: Pair


def make_certificates(folder: Path) -> Certificates:
    """Make new certificates under ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = _make(folder, "authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    signed = ("-CA", str(authority.certificate), "-CAkey", str(authority.key))
    signed += ("-addext", "basicConstraints=critical,CA:FALSE")
    names = ("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    return Certificates(
        authority=authority.certificate,
        server=_make(folder, "server", *signed, *names),
        client=_make(folder, "client", *signed),
        stranger=_make(folder, "stranger", *names),
    )


def server_context(pair: Pair, authority: Path | None = None) -> ssl.SSLContext:
    """The TLS of a server; with an authority whoever connects must show a certificate of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if authority is not None:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _make(folder: Path, name: str, *options: str) -> Pair:
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    command = [str(require("openssl")), "req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN=cspine test {name}"]
    command += ["-keyout", str(pair.key), "-out", str(pair.certificate), *options]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    return pair
