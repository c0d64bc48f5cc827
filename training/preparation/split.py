"""Train, validation and test: patients stay together, fractures are spread evenly, and what was decided stays decided.

Patients are dealt out by iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011): the rarest trait first, each
patient to the split that lacks most of it, in an order that a seed and their hash decide and the order of files does
not. Traits are a fracture at all (alone, with the data set, and with a mask of the levels) and each fractured level.

Decisions are saved (``split_file.py``): a patient who has a split keeps it whatever is added later, and new
patients fill up what is missing.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.findings import Vertebra
from training.datasets.studies import DataSetError
from training.preparation.prepared import Split

FRACTURED, INTACT = "fractured", "intact"

Truth = Mapping[Vertebra, bool]
Shares = Mapping[Split, float]


@dataclass(frozen=True, slots=True)
class SplitStudy:
    """What splitting asks of a study.

    ``name`` and ``patient`` (a hash) as in a prepared folder; ``key`` and ``patient_id`` as in the data set. ``fixed``:
    the split that its source is meant for.
    """

    name: str
    data_set: str
    patient: str
    key: str
    patient_id: str
    fractures: Truth
    masked: bool
    fixed: Split | None = None


def class_of(fractures: Truth) -> str:
    """Fractured, intact, or nothing where neither is known."""
    if any(fractures.values()):
        return FRACTURED
    return INTACT if fractures else ""


def assign(
    studies: Sequence[SplitStudy], shares: Shares, seed: int, given: Mapping[str, Split] | None = None
) -> dict[str, Split]:
    """The split of each study by its name; ``given`` holds those (by name) that are decided already.

    A split whose share is 0 gets none but the given ones. Raises ``DataSetError`` when one patient is given two splits.
    """
    patients: dict[str, list[SplitStudy]] = defaultdict(list)
    for study in studies:
        patients[study.patient].append(study)
    decided = _decided(patients, given or {})
    balance = _Balance({patient: _traits(theirs) for patient, theirs in patients.items()}, shares)
    for patient, split in decided.items():
        balance.give(patient, split)
    waiting = sorted(patients.keys() - decided.keys(), key=lambda patient: _draw(seed, patient))
    while waiting:
        trait = balance.rarest(waiting)
        for patient in [one for one in waiting if trait in balance.traits[one]]:
            decided[patient] = balance.best(patient, trait)
            balance.give(patient, decided[patient])
        waiting = [patient for patient in waiting if patient not in decided]
    return {study.name: decided[study.patient] for study in studies}


class _Balance:
    """How many patients of each trait every split still lacks (less than none: it has too many)."""

    def __init__(self, traits: Mapping[str, frozenset[str]], shares: Shares) -> None:
        counts = Counter(trait for theirs in traits.values() for trait in theirs)
        self._open = [split for split in Split if shares[split] > 0]
        fits = {trait for trait, count in counts.items() if count >= len(self._open) or trait == _ANYBODY}
        self._lacking = {trait: _wanted(counts[trait], shares) for trait in fits}
        self.traits = {patient: theirs & fits for patient, theirs in traits.items()}

    def give(self, patient: str, split: Split) -> None:
        for trait in self.traits[patient]:
            self._lacking[trait][split] -= 1

    def rarest(self, patients: Sequence[str]) -> str:
        counts = Counter(trait for patient in patients for trait in self.traits[patient])
        return min(counts, key=lambda trait: (trait == _ANYBODY, counts[trait], trait))

    def best(self, patient: str, trait: str) -> Split:
        """The split that lacks most of the trait; where two do, the one that lacks most of all of the patient's."""
        mine = self.traits[patient]
        return max(
            self._open,
            key=lambda split: (self._lacking[trait][split], sum(self._lacking[one][split] for one in mine)),
        )


_ANYBODY = "anybody"


def _traits(studies: Sequence[SplitStudy]) -> frozenset[str]:
    """What is to be spread evenly of a patient."""
    found = {_ANYBODY}
    for study in studies:
        kind = class_of(study.fractures) or "unknown"
        found |= {kind, f"set {study.data_set} {kind}"}
        found |= {level.name for level, fractured in study.fractures.items() if fractured}
        if study.masked:
            found.add(f"mask {kind}")
    return frozenset(found)


def _wanted(count: int, shares: Shares) -> dict[Split, float]:
    """How many patients of a trait each split should have: its share, but one at least where there are enough."""
    wanted = {split: share * count for split, share in shares.items()}
    if count >= sum(share > 0 for share in shares.values()):
        largest = max(wanted, key=lambda split: shares[split])
        wanted |= {split: max(share, 1.0) for split, share in wanted.items() if shares[split] > 0}
        wanted[largest] += count - sum(wanted.values())
    return wanted


def _decided(patients: Mapping[str, Sequence[SplitStudy]], given: Mapping[str, Split]) -> dict[str, Split]:
    decided: dict[str, Split] = {}
    problems = []
    for patient, studies in patients.items():
        told = {study.name: study.fixed or given[study.name] for study in studies if study.fixed or study.name in given}
        if len(set(told.values())) > 1:
            named = ", ".join(f"{study.name} ({study.key})" for study in studies if study.name in told)
            problems.append(f"{named} are of one patient but are given to different splits: give them the same")
        elif told:
            decided[patient] = next(iter(told.values()))
    if problems:
        raise DataSetError(*problems)
    return decided


def _draw(seed: int, patient: str) -> str:
    return hashlib.sha256(f"{seed}/{patient}".encode()).hexdigest()


def check_classes(truths: Sequence[tuple[Split, Truth]], shares: Shares) -> None:
    """Raise ``DataSetError`` for an empty split, and for one without a fractured or without an intact study.

    Studies of which neither is known (masks alone, to train the levels with) ask for no class.
    """
    advice = (
        "add studies, set its share to 0, say which studies belong there in split_file, or allow it with "
        "allow_missing_class = true (enough to train the levels network)"
    )
    known = [(split, class_of(truth)) for split, truth in truths]
    classes = [FRACTURED, INTACT] if any(kind for _, kind in known) else []
    problems = []
    for split in (split for split in Split if shares[split] > 0):
        here = {kind for mine, kind in known if mine is split}
        if not here:
            problems.append(f"the {split} split is empty ({len(truths)} studies in all): {advice}")
            continue
        for kind in (kind for kind in classes if kind not in here):
            count = sum(other == kind for _, other in known)
            problems.append(f"the {split} split has no {kind} study ({count} in all): {advice}")
    if problems:
        raise DataSetError(*problems)


def missing_levels(truths: Sequence[tuple[Split, Truth]], shares: Shares) -> list[str]:
    """Sentences on the levels of which a split shows no fracture: nothing can be learned or said of these there."""
    found = []
    for split in (split for split in Split if shares[split] > 0):
        seen = {level for mine, truth in truths if mine is split for level, fractured in truth.items() if fractured}
        missing = [level.name for level in Vertebra if level not in seen]
        if missing:
            found.append(f"the {split} split has no fracture of {', '.join(missing)}")
    return found
