"""Ed25519 signatures of bundles (RFC 8032): ``metadata.json.sig`` beside ``metadata.json``, which names all files.

The signature is of the bytes of ``metadata.json`` and stands in its file as one line of base64, so that OpenSSL can
check it as well.
"""

import base64
import binascii
import os
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from model.bundle import METADATA_FILE, Bundle, load_bundle
from model.errors import BundleError
from worker.errors import StartupError

SIGNATURE_FILE = "metadata.json.sig"
MAX_KEY_FILE_BYTES = 64 * 1024
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)

PublicKeys = tuple[Ed25519PublicKey, ...]


class SignatureError(BundleError):
    """A bundle is not signed by any of the keys that this site trusts."""


def read_public_keys(path: Path) -> PublicKeys:
    """The keys of a file: PEM blocks, or lines of base64 (32 bytes each); lines that begin with ``#`` are comments.

    Raises ``StartupError`` when there is none, or anything else in the file.
    """
    try:
        content = _small(path)
        blocks = _PEM.findall(content)
        lines = [line.strip() for line in _PEM.sub(b"", content).splitlines()]
        keys = [load_pem_public_key(block) for block in blocks]
        texts = [line for line in lines if line and not line.startswith(b"#")]
        keys += [Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True)) for text in texts]
    except OSError as error:
        raise StartupError(f"the public keys in {path} cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise StartupError(f"{path} must hold Ed25519 public keys, PEM or a line of base64 each") from error
    found = tuple(key for key in keys if isinstance(key, Ed25519PublicKey))
    if not found or len(found) != len(keys):
        raise StartupError(f"{path} must hold Ed25519 public keys: make one with `cspine model keygen`")
    return found


def check(metadata: bytes, signature: bytes | None, keys: PublicKeys) -> None:
    """Raise ``SignatureError`` unless ``signature`` (the content of its file) is one of these keys' of ``metadata``."""
    if signature is None:
        raise SignatureError(
            f"the bundle has no {SIGNATURE_FILE}, and CSPINE_MODEL_PUBLIC_KEYS_FILE asks for one: let who made it "
            "sign it (`cspine model sign`)"
        )
    try:
        value = base64.b64decode(signature.strip(), validate=True)
    except binascii.Error as error:
        raise SignatureError(f"{SIGNATURE_FILE} is no line of base64") from error
    for key in keys:
        try:
            key.verify(value, metadata)
        except InvalidSignature:
            continue
        return
    raise SignatureError(
        "the bundle is not signed by a key of CSPINE_MODEL_PUBLIC_KEYS_FILE, or was changed since: do not use it"
    )


def make_key(path: Path) -> Path:
    """Write a new private key (PEM, readable by this user alone) and its public key beside it; return the latter.

    Raises ``StartupError`` when either file exists or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public_path = path.with_name(path.name + ".pub")
    try:
        _write_new(path, private, 0o600)
        _write_new(public_path, public, 0o644)
    except OSError as error:
        raise StartupError(f"no key is made, {error.filename} cannot be written: {error.strerror}") from error
    return public_path


def sign(metadata: bytes, key_path: Path) -> bytes:
    """The content of the signature's file; raises ``StartupError`` when the file holds no private key of ours."""
    try:
        key = load_pem_private_key(_small(key_path), password=None)
    except OSError as error:
        raise StartupError(f"the key {key_path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StartupError(f"{key_path} is no private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StartupError(f"{key_path} is no Ed25519 key: make one with `cspine model keygen`")
    return base64.b64encode(key.sign(metadata)) + b"\n"


def sign_bundle(folder: Path, key_path: Path) -> Bundle:
    """Check a bundle and write its signature beside its description; raises ``BundleError`` and ``StartupError``."""
    bundle = load_bundle(folder)
    metadata = (folder / METADATA_FILE).read_bytes()
    try:
        (folder / SIGNATURE_FILE).write_bytes(sign(metadata, key_path))
    except OSError as error:
        raise StartupError(f"{error.filename} cannot be written: {error.strerror}") from error
    return bundle


def _small(path: Path) -> bytes:
    """The content of a file of keys, as far as one may be long."""
    with path.open("rb") as file:
        return file.read(MAX_KEY_FILE_BYTES)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
