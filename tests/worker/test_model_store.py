"""The store of bundles: whole or not there, whatever comes in and whenever the installing process dies."""

import base64
import hashlib
import io
import multiprocessing
import os
import signal
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from model.bundle import EMBEDDED_BUNDLE, METADATA_FILE, load_bundle
from model.errors import BundleError
from tests.worker.bundles import describe, section, write_bundle, zipped
from worker import signatures
from worker.bundle_source import BOUNDS
from worker.errors import StartupError
from worker.model_store import MAX_METADATA_BYTES, ModelStore
from worker.settings import Settings
from worker.signatures import SIGNATURE_FILE, SignatureError, make_key, read_public_keys, sign


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "data" / "models")


def leftovers(store: ModelStore) -> list[str]:
    """What lies in the store beside whole bundles."""
    return [path.name for path in store.root.glob("*") if len(path.name) != 64]


@pytest.mark.parametrize("form", ["folder", "zip", "zip of a folder"])
def test_a_bundle_is_installed_under_its_sha256_and_opens(tmp_path: Path, store: ModelStore, form: str) -> None:
    source = write_bundle(tmp_path / "second")
    sha256 = load_bundle(source).sha256
    if form != "folder":
        source = zipped(source, tmp_path / "second.zip", "" if form == "zip" else "second/")
    done = store.install(source)
    assert (done.new, done.bundle.sha256, done.bundle.path) == (True, sha256, store.root / sha256)
    assert [(entry.sha256, entry.version, entry.signed) for entry in store.entries()] == [(sha256, "second", False)]
    assert store.open(store.find(sha256[:8])).version == "second"
    assert not store.install(source).new
    assert leftovers(store) == []
    assert (store.root / sha256).stat().st_mode & 0o077 == 0


def test_files_that_the_description_does_not_list_stay_outside(tmp_path: Path, store: ModelStore) -> None:
    source = write_bundle(tmp_path / "second")
    (source / "setup.py").write_text("raise SystemExit")
    with zipfile.ZipFile(tmp_path / "second.zip", "w") as file:
        file.writestr("../../evil", "outside")
        file.writestr("/etc/evil", "outside")
        for path in source.iterdir():
            file.write(path, path.name)
    bundle = store.install(tmp_path / "second.zip").bundle
    assert {path.name for path in bundle.path.iterdir()} == {METADATA_FILE, *bundle.metadata.files}
    assert not list(tmp_path.rglob("evil"))


def test_a_damaged_bundle_is_refused_and_installing_it_again_repairs_it(tmp_path: Path, store: ModelStore) -> None:
    source = write_bundle(tmp_path / "second")
    sha256 = store.install(source).bundle.sha256
    weights = store.root / sha256 / "levels.npz"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BundleError, match="was changed"):
        store.open(sha256)
    assert store.install(source).new
    assert store.open(sha256).version == "second"
    describe(store.root / sha256, version="third")
    with pytest.raises(BundleError, match="was changed"):
        store.open(sha256)
    assert leftovers(store) == []


def test_what_is_removed_is_gone_and_says_how_to_come_back(tmp_path: Path, store: ModelStore) -> None:
    sha256 = store.install(write_bundle(tmp_path / "second")).bundle.sha256
    store.remove(sha256)
    assert list(store.root.iterdir()) == []
    with pytest.raises(BundleError, match="cspine model install"):
        store.open(sha256)


@pytest.mark.parametrize("prefix", ["", "ab", "xyzxyz", "../../etc", "a" * 65])
def test_what_is_no_sha256_finds_nothing(store: ModelStore, prefix: str) -> None:
    with pytest.raises(StartupError, match="first 6 digits"):
        store.find(prefix)
    with pytest.raises(StartupError, match="no model is installed"):
        store.find("abcdef")
    with pytest.raises(BundleError, match="64 digits"):
        store.open(prefix)


def test_a_source_that_is_no_bundle_is_named(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.zip").write_text("no zip file, but longer than the end of one")
    for name, words in (("absent", "no bundle at"), ("empty", "metadata.json"), ("note.zip", "plain zip file")):
        with pytest.raises(BundleError, match=words):
            store.install(tmp_path / name)
    assert not store.root.exists() or list(store.root.iterdir()) == []


HOSTILE = {
    "deep": (b"[" * 100_000, "deeply"),
    "long": (b" " * (MAX_METADATA_BYTES + 1), "at most"),
    "no text": (b"\xff\xfe", "no JSON"),
    "a number": (b"1", "schema"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_description_is_refused(tmp_path: Path, store: ModelStore, content: tuple[bytes, str]) -> None:
    source = write_bundle(tmp_path / "second")
    (source / METADATA_FILE).write_bytes(content[0])
    with pytest.raises(BundleError, match=content[1]):
        store.install(source)


BEYOND = {
    "a long name": ({"name": "x" * 65}, "short and printable"),
    "a name with a terminal's commands": ({"name": "\x1b[2J"}, "short and printable"),
    "a grid of a billion voxels": ({"preprocess": section("preprocess", spacing_mm=1e-3)}, "preprocess.spacing_mm"),
    "no number": ({"calibration": section("calibration", scale=float("nan"))}, "calibration.scale"),
    "huge crops": ({"crops": section("crops", rows=10**9)}, "crops.rows"),
    "half a row": ({"crops": section("crops", rows=80.5)}, "crops.rows"),
    "a name that leads out": ({"files": {"../x": "0" * 64}}, "plain file name"),
    "a hidden name": ({"files": section("files") | {".bashrc": "0" * 64}}, "not plain"),
    "a name with an end inside": ({"files": section("files") | {"x\0y": "0" * 64}}, "not plain"),
    "its own signature": ({"files": section("files") | {SIGNATURE_FILE: "0" * 64}}, "not plain"),
    "many files": ({"files": section("files") | {f"f{n}": "0" * 64 for n in range(40)}}, "more than 32"),
    "a file that is missing": ({"files": section("files") | {"more.npz": "0" * 64}}, "cannot be read"),
    "a file that is another": ({"files": section("files") | {"levels.npz": "0" * 64}}, "was changed"),
}


@pytest.mark.parametrize("case", BEYOND.values(), ids=BEYOND)
def test_a_description_beyond_the_bounds_is_refused_and_leaves_nothing(
    tmp_path: Path, store: ModelStore, case: tuple[dict[str, object], str]
) -> None:
    source = write_bundle(tmp_path / "second", **case[0])
    with pytest.raises(BundleError, match=case[1]):
        store.install(source)
    assert not store.root.exists() or list(store.root.iterdir()) == []


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, store: ModelStore) -> None:
    source = write_bundle(tmp_path / "second")
    (source / "levels.npz").unlink()
    os.mkfifo(source / "levels.npz")
    with pytest.raises(BundleError, match=r"levels.npz .* is no file"):
        store.install(source)


def test_arrays_that_unpack_to_more_than_the_memory_are_refused(tmp_path: Path, store: ModelStore) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, a=np.zeros(8, np.float32))
    packed = bytearray(content.getvalue())
    at = packed.rfind(b"PK\x01\x02")
    packed[at + 24 : at + 28] = struct.pack("<L", 0xFFFFFFF0)
    source = write_bundle(tmp_path / "second")
    (source / "levels.npz").write_bytes(packed)
    digest = hashlib.sha256(packed).hexdigest()
    describe(source, files=section("files") | {"levels.npz": digest})
    with pytest.raises(BundleError, match="unpacks to"):
        store.install(source)
    assert list(store.root.iterdir()) == []


def hostile_zip(kind: str, source: Path, path: Path) -> Path:
    """A zip file that would harm who unpacks it carelessly."""
    files = {member.name: member.read_bytes() for member in sorted(source.iterdir())}
    if kind == "bomb":
        files["levels.npz"] = bytes(64 * 1024 * 1024)
    if kind == "no description":
        del files[METADATA_FILE]
    if kind == "many entries":
        files |= {str(number): b"" for number in range(BOUNDS.entries + 1)}
    if kind == "two descriptions":
        files["other/metadata.json"] = b"{}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
        file.comment = b"PK\x05\x06" if kind == "comment" else b""
    content = bytearray(path.read_bytes())
    first, last = content.find(b"PK\x01\x02"), content.rfind(b"PK\x01\x02")
    if kind == "lying size":
        content[last + 24 : last + 28] = struct.pack("<L", 10)
    if kind == "encrypted":
        content[first + 8] |= 1
    if kind == "spoiled":
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(content[: len(content) // 2] if kind == "cut" else content)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bomb", "too well to be true"),
        ("no description", "one metadata.json"),
        ("two descriptions", "one metadata.json"),
        ("many entries", "more than"),
        ("comment", "plain zip file"),
        ("lying size", "no zip file that can be read|was changed|schema|JSON"),
        ("encrypted", "encrypted"),
        ("cut", "plain zip file"),
        ("spoiled", "no zip file that can be read|was changed"),
    ],
)
def test_a_hostile_zip_file_is_refused_and_leaves_nothing(
    tmp_path: Path, store: ModelStore, kind: str, words: str
) -> None:
    source = write_bundle(tmp_path / "second")
    with pytest.raises(BundleError, match=words):
        store.install(hostile_zip(kind, source, tmp_path / "hostile.zip"))
    assert not store.root.exists() or list(store.root.iterdir()) == []


# Signatures


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "site.key")
    return tmp_path / "site.key"


def signed(folder: Path, key: Path) -> Path:
    (folder / SIGNATURE_FILE).write_bytes(sign((folder / METADATA_FILE).read_bytes(), key))
    return folder


def trusting(tmp_path: Path, *keys: Path) -> ModelStore:
    """A store that takes bundles signed by these keys alone."""
    path = tmp_path / "trusted.pem"
    path.write_bytes(b"# who may sign\n" + b"".join(key.with_name(key.name + ".pub").read_bytes() for key in keys))
    return ModelStore.of(Settings(data_dir=tmp_path / "data", model_public_keys_file=path))


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_signed_bundle_is_taken_and_kept_with_its_signature(tmp_path: Path, key: Path, form: str) -> None:
    source = signed(write_bundle(tmp_path / "second"), key)
    store = trusting(tmp_path, key)
    done = store.install(source if form == "folder" else zipped(source, tmp_path / "second.zip"))
    assert store.entries()[0].signed
    assert store.open(done.bundle.sha256).version == "second"
    assert key.stat().st_mode & 0o077 == 0


def test_an_unsigned_a_strange_and_a_changed_bundle_are_refused(tmp_path: Path, key: Path) -> None:
    store = trusting(tmp_path, key)
    with pytest.raises(SignatureError, match=r"has no metadata.json.sig"):
        store.install(write_bundle(tmp_path / "unsigned"))
    make_key(tmp_path / "other.key")
    with pytest.raises(SignatureError, match="not signed by a key"):
        store.install(signed(write_bundle(tmp_path / "strange"), tmp_path / "other.key"))
    changed = signed(write_bundle(tmp_path / "changed"), key)
    describe(changed, version="another")
    with pytest.raises(SignatureError, match="not signed by a key"):
        store.install(changed)
    (changed / SIGNATURE_FILE).write_bytes(b"\xff not base64")
    with pytest.raises(SignatureError, match="base64"):
        store.install(changed)
    assert not store.root.exists()


def test_a_bundle_from_before_signatures_were_asked_for_opens_once_its_signature_comes(
    tmp_path: Path, key: Path
) -> None:
    source = write_bundle(tmp_path / "second")
    sha256 = ModelStore(tmp_path / "data" / "models").install(source).bundle.sha256
    store = trusting(tmp_path, key)
    with pytest.raises(SignatureError):
        store.open(sha256)
    assert not store.install(signed(source, key)).new
    assert store.open(sha256).sha256 == sha256
    with pytest.raises(SignatureError):
        store.open_folder(write_bundle(tmp_path / "elsewhere"))


def test_one_of_several_keys_is_enough_whatever_its_form(tmp_path: Path, key: Path) -> None:
    make_key(tmp_path / "old.key")
    store = trusting(tmp_path, tmp_path / "old.key", key)
    assert store.install(signed(write_bundle(tmp_path / "second"), key)).new
    raw = (tmp_path / "site.key.pub").read_bytes().splitlines()[1]
    lines = tmp_path / "lines.txt"
    lines.write_bytes(b"# site\n" + base64.b64encode(base64.b64decode(raw)[-32:]) + b"\n")
    metadata = (tmp_path / "second" / METADATA_FILE).read_bytes()
    signatures.check(metadata, (tmp_path / "second" / SIGNATURE_FILE).read_bytes(), read_public_keys(lines))


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"abc\n", b"AAAA\n", b"-----BEGIN PUBLIC KEY-----\nAA==\n"])
def test_a_file_without_public_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(StartupError, match="public keys"):
        read_public_keys(tmp_path / "keys")


def test_a_private_key_is_never_overwritten_and_a_strange_one_not_used(tmp_path: Path, key: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(StartupError, match="no key is made"):
        make_key(key)
    assert key.read_bytes() == before
    with pytest.raises(StartupError, match="no private key"):
        sign(b"{}", tmp_path / "site.key.pub")
    with pytest.raises(StartupError, match="cannot be read"):
        sign(b"{}", tmp_path / "absent")


# Killed


def install_until(data: Path, source: Path, step: int) -> None:
    """Install, and die by SIGKILL before the ``step``-th thing that is done in the data folder."""
    taken = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal taken
        if event in {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"} and str(data) in str(arguments[0]):
            taken += 1
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    ModelStore(data / "models").install(source)


def kill_at_every_step(folder: Path, source: Path, sha256: str, before: str) -> None:
    """Install in a fork of this process that dies at the first step, the second, and so on, until one is through."""
    outcomes: list[bool] = []
    status = None
    while status != 0:
        data = folder / f"data{len(outcomes)}"
        store = ModelStore(data / "models")
        if before == "broken":
            store.install(source)
            (store.root / sha256 / "levels.npz").write_bytes(b"torn")
        child = os.fork()
        if child == 0:
            install_until(data, source, len(outcomes) + 1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert status in {0, int(signal.SIGKILL)}
        whole = store.is_there(sha256) and (store.root / sha256 / "levels.npz").stat().st_size > 4
        assert whole or before == "broken" or not store.entries()
        if whole:
            assert store.open(sha256).version == "second"
        outcomes.append(whole)
        store.install(source)
        assert store.open(sha256).version == "second"
    assert len(outcomes) > 5
    assert outcomes == sorted(outcomes)


@pytest.mark.parametrize("before", ["absent", "broken"])
def test_an_installation_that_is_killed_at_any_step_leaves_the_whole_bundle_or_none(
    tmp_path: Path, before: str
) -> None:
    source = write_bundle(tmp_path / "second")
    arguments = (tmp_path, source, load_bundle(source).sha256, before)
    process = multiprocessing.get_context("spawn").Process(target=kill_at_every_step, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


def test_the_bundle_of_the_package_needs_no_store(tmp_path: Path, key: Path) -> None:
    assert trusting(tmp_path, key).entries() == []
    assert load_bundle().path == EMBEDDED_BUNDLE
