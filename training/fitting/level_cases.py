"""Synthetic cases of the level network on disk: made when first drawn, once for all processes that draw from them."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import overload

import numpy as np

from training.fitting.dataset import CASE_SHAPE, make_case
from training.fitting.stored_arrays import StoredArrays
from training.synthesis.anatomy import Anatomy
from training.synthesis.atlas import Atlas, load_atlas


class LevelCases(Sequence[Anatomy]):
    """The cases of a plan (``training.fitting.dataset.case_plan``), each a file of ``folder``; about 10 MB a case.

    Of a case only what slices are drawn from is kept. Raises OSError when the disk is full.
    """

    def __init__(self, folder: Path, plan: Sequence[tuple[int, bool]], atlas: Path | None) -> None:
        self._folder = folder
        self._plan = plan
        self._atlas = atlas
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return len(self._plan)

    @overload
    def __getitem__(self, place: int) -> Anatomy: ...
    @overload
    def __getitem__(self, place: slice) -> "LevelCases": ...
    def __getitem__(self, place: int | slice) -> "Anatomy | LevelCases":
        if isinstance(place, slice):
            return LevelCases(self._folder, self._plan[place], self._atlas)
        seed, from_atlas = self._plan[place]
        path = self._folder / f"{seed}{'-atlas' if from_atlas else ''}.npz"
        if not path.is_file():
            with _locked(path.with_suffix(".lock")):
                if not path.is_file():
                    self._make(seed, from_atlas, path)
        stored = StoredArrays(path)
        labels, depth, tissue = (stored.mapped(name) for name in ("labels", "depth_mm", "tissue"))
        cleft = stored.mapped("cleft") if "cleft" in stored else np.broadcast_to(np.float16(0), CASE_SHAPE)
        nothing = np.broadcast_to(np.False_, CASE_SHAPE)
        return Anatomy(labels, depth, tissue, nothing, cleft)

    def _make(self, seed: int, from_atlas: bool, path: Path) -> None:  # noqa: FBT001 -- a column of the plan
        case = make_case(seed, _atlas(self._atlas) if from_atlas and self._atlas else None)
        arrays = {name: np.asarray(getattr(case, name)) for name in ("labels", "depth_mm", "tissue")}
        if case.kinds:
            arrays["cleft"] = np.asarray(case.cleft)
        temporary = path.with_suffix(".part.npz")
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # NumPy's stubs take the arrays for allow_pickle
        temporary.replace(path)


@cache
def _atlas(folder: Path) -> Atlas:
    """The atlas, read once a process."""
    return load_atlas(folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the system opens the lock when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
