"""Arrays are mapped from the files that ``numpy.savez`` writes."""

import numpy as np
import pytest

from training.datasets.studies import DataSetError
from training.fitting.stored_arrays import StoredArrays


def test_arrays_are_as_they_were_written_whatever_their_order(tmp_path):
    rng = np.random.default_rng(1)
    written = {
        "plain": rng.normal(size=(5, 6, 7)).astype(np.float16),
        "turned": np.asfortranarray(rng.integers(0, 9, size=(4, 3)).astype(np.uint8)),
        "empty": np.zeros((0, 4), dtype=np.uint8),
        "words": np.array(["burst", ""]),
    }
    np.savez(tmp_path / "a.npz", **written)
    stored = StoredArrays(tmp_path / "a.npz")
    assert "plain" in stored
    assert "absent" not in stored
    for name, values in written.items():
        np.testing.assert_array_equal(stored.mapped(name), values)
    with pytest.raises(ValueError, match="read-only"):
        stored.mapped("plain")[0] = 1


def test_files_that_are_cut_off_compressed_or_none_are_named(tmp_path):
    np.savez(tmp_path / "whole.npz", values=np.arange(1000))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:500])
    np.savez_compressed(tmp_path / "small.npz", values=np.arange(1000))
    for name in ("cut.npz", "small.npz", "absent.npz"):
        with pytest.raises(DataSetError, match=name):
            StoredArrays(tmp_path / name)
    with pytest.raises(DataSetError, match="holds no labels"):
        StoredArrays(tmp_path / "whole.npz").mapped("labels")
