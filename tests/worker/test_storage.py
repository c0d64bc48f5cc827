"""worker.storage: result bytes are durable, named by their content, and never read back changed."""

import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.storage import ResultCorrupt, ResultStore


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=4096))
def test_what_was_put_is_got(store: ResultStore, data: bytes):
    stored = store.put(data)
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert stored.size_bytes == len(data)
    assert store.get(stored.path, stored.sha256) == data
    assert store.verified(stored.path, stored.sha256).read_bytes() == data


def test_the_same_bytes_have_the_same_name_and_leave_no_other_file(store: ResultStore):
    assert store.put(b"result") == store.put(b"result")
    assert len([path for path in store.root.rglob("*") if path.is_file()]) == 1


def test_files_and_folders_are_private(store: ResultStore):
    path = store.root / store.put(b"result").path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_changed_result_is_noticed(store: ResultStore):
    stored = store.put(b"result")
    (store.root / stored.path).write_bytes(b"resulT")
    with pytest.raises(ResultCorrupt, match="changed"):
        store.get(stored.path, stored.sha256)


def test_a_missing_result_is_noticed(store: ResultStore):
    stored = store.put(b"result")
    (store.root / stored.path).unlink()
    with pytest.raises(ResultCorrupt):
        store.verified(stored.path, stored.sha256)


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "ab/../../outside"])
def test_a_path_out_of_the_store_is_not_followed(store: ResultStore, path: str, tmp_path: Path):
    store.put(b"result")
    (tmp_path / "outside").write_bytes(b"secret")
    with pytest.raises(ResultCorrupt, match="outside"):
        store.get(path, hashlib.sha256(b"secret").hexdigest())


def test_bytes_are_flushed_before_the_name_and_the_folder_after_it(store: ResultStore, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    store.put(b"result")
    assert calls[:3] == ["file", "rename", "folder"]


def test_a_full_disk_leaves_nothing_behind(store: ResultStore, monkeypatch: pytest.MonkeyPatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.put(b"result")
    assert not any(path.is_file() for path in store.root.rglob("*"))
