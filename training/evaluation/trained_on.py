"""Whether a bundle may have been trained on the studies it is measured on, by what its provenance says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from training.fitting.provenance import split_sha256
from training.preparation.prepared import Prepared, Split


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A prepared folder that a network of the bundle was trained on: its data sets and the hash of its split."""

    data_sets: frozenset[str]
    split_sha256: str


def training_data(provenance: object) -> frozenset[TrainingData]:
    """Every prepared folder that a bundle's provenance names, at whatever depth (``training.fitting.provenance``)."""
    return frozenset(_found(provenance))


def _found(value: object) -> Iterator[TrainingData]:
    if isinstance(value, Mapping):
        names, split = value.get("data_sets"), value.get("split_sha256")
        if isinstance(names, Mapping) and isinstance(split, str):
            yield TrainingData(frozenset(str(name) for name in names), split)
        for inner in value.values():
            yield from _found(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for inner in value:
            yield from _found(inner)


def trained_on(provenance: object, prepared: Prepared) -> str:
    """What the bundle was trained on, in words, as far as a prepared folder can tell."""
    found = training_data(provenance)
    if not found:
        return "no prepared folder (synthetic data, or not recorded)"
    here = split_sha256(prepared.studies)
    words = [
        f"{', '.join(sorted(one.data_sets))}: " + ("this very split" if one.split_sha256 == here else "another split")
        for one in found
    ]
    return "; ".join(sorted(words))


def doubts(provenance: object, prepared: Prepared, split: Split) -> list[str]:
    """A sentence for each data set that is measured and was trained on with another split: it may have been seen."""
    here, measured = split_sha256(prepared.studies), {study.data_set for study in prepared.of(split)}
    others = {name for one in training_data(provenance) if one.split_sha256 != here for name in one.data_sets}
    return [
        f"The bundle was trained on another split of {name} than this one: some of the studies measured here may have "
        "been trained on. Measure with the prepared folder of the training, or one that kept its split.csv."
        for name in sorted(others & measured)
    ]
