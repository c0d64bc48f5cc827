"""Certificates for tests, made with the openssl program: an authority, a server on loopback, a client, a stranger."""

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


def _make(folder: Path, name: str, *options: str) -> Pair:
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    command = [str(require("openssl")), "req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN=cspine test {name}"]
    command += ["-keyout", str(pair.key), "-out", str(pair.certificate), *options]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    return pair
