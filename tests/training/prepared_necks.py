"""Data sets of small synthetic necks in memory, as an adapter would show them, for tests of ``prepare``."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from model.findings import Vertebra
from training.datasets.studies import LabeledStudy, LabeledVolume
from training.synthesis.phantom import Phantom, PhantomConfig, make_phantom


@cache
def neck(seed: int) -> Phantom:
    """A coarse neck; other seeds are other patients."""
    made = make_phantom(seed, PhantomConfig(spacing_mm=(3.0, 2.5, 2.5)))
    for array in (made.hu, made.labels, made.fracture):
        array.setflags(write=False)
    return made


def neck_study(number: int, broken: Sequence[Vertebra] = (), patient: str | None = None) -> LabeledStudy:
    """What is known of the neck of this seed."""
    return LabeledStudy(
        f"1.2.840.{number}",
        patient or f"SMITH^{number}",
        (),
        {level: level in broken for level in Vertebra},
        dict.fromkeys(broken, "burst"),
        site="site A",
        mask=Path("its own"),
    )


@dataclass
class Necks:
    """A data set of necks; ``reading`` is called before each is read, ``read_keys`` says which were."""

    shown: list[LabeledStudy]
    name: str = "necks"
    reading: Callable[[LabeledStudy], None] = lambda _study: None
    read_keys: list[str] = field(default_factory=list)
    seeds: dict[str, int] = field(default_factory=dict)

    def studies(self) -> Sequence[LabeledStudy]:
        return self.shown

    def read(self, study: LabeledStudy, scratch: Path) -> LabeledVolume:
        self.read_keys.append(study.key)
        (scratch / "voxels").write_bytes(b"as large as a volume")
        self.reading(study)
        made = neck(self.seeds.get(study.key, int(study.key.rsplit(".", 1)[1])))
        labels = np.where(made.labels <= 7, made.labels, 0).astype(np.uint8)
        return LabeledVolume(made.hu, made.spacing_mm, labels)


def dies_of_the_third(study: LabeledStudy) -> None:
    """End the process as the kernel does when memory runs out."""
    if study.key.endswith(".3"):
        os.kill(os.getpid(), signal.SIGKILL)


def six_necks() -> Necks:
    """Three patients with a fracture and three without."""
    return Necks([neck_study(number, [Vertebra.C5, Vertebra.C2][: number % 2 * 2]) for number in range(1, 7)])
