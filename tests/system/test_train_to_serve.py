"""From a data set in the layout of RSNA 2022 to a model that serves: every command, as an engineer types them.

Synthetic necks, a few steps from the embedded weights on: what is shown is that the parts fit, not what was learned.
"""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from model.bundle import EMBEDDED_BUNDLE
from model.findings import Vertebra
from tests.training.trees import SmallAnatomy, TreeStudy, rsna_uid, write_rsna
from training.evaluation.evaluate import TEST_SEED
from training.synthesis.fractures import FractureKind
from training.synthesis.phantom import PhantomConfig, make_phantom
from training.synthesis.phantom_series import write_series

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPLITS = ("train", "train", "train", "validation", "validation", "test", "test")
FEW_STEPS = ("--encoder", "compact", "--weights", "none", "--batch", "2", "--steps", "3", "--processes", "1")


def neck(seed: int, kinds: Mapping[Vertebra, FractureKind]) -> SmallAnatomy:
    """A coarse neck with these fractures; other seeds are other patients."""
    made = make_phantom(seed, PhantomConfig(spacing_mm=(2.0, 1.5, 1.5), kinds=dict(kinds)))
    labels = np.where(made.labels <= len(Vertebra), made.labels, 0).astype(np.uint8)
    return SmallAnatomy(made.hu, labels, made.spacing_mm)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven synthetic necks, in every split some with a fracture and some without."""
    folder = tmp_path_factory.mktemp("rsna")
    studies = []
    for seed, split in enumerate(SPLITS, start=TEST_SEED + 500):
        kinds = {Vertebra.C5: FractureKind.BURST, Vertebra.C2: FractureKind.DENS_II} if seed % 2 else {}
        studies.append((TreeStudy(rsna_uid(seed), neck(seed, kinds), frozenset(kinds)), split))
    write_rsna(folder, [study for study, _ in studies])
    with (folder / "split.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["study", "split"])
        table.writerows((study.key, split) for study, split in studies)
    return folder


def ran(folder: Path, *command: str) -> str:
    """What a command prints; it must succeed."""
    environment = os.environ | {"CSPINE_DATA_DIR": str(folder / "data"), "TF_CPP_MIN_LOG_LEVEL": "2"}
    program = [sys.executable, "-m", *command]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_a_model_trained_on_a_data_set_answers_in_the_product(data_set: Path, tmp_path: Path):
    (tmp_path / "prepare.toml").write_text(
        f'output = "prepared"\nsplit_file = "{data_set / "split.csv"}"\n'
        f'[[sources]]\nkind = "rsna"\nfolder = "{data_set}"\nname = "RSNA shape"\n'
    )
    ran(tmp_path, "training", "prepare", "--config", str(tmp_path / "prepare.toml"))
    prepared = ("--prepared", str(tmp_path / "prepared"))
    for stage in ("levels", "fractures"):
        start = EMBEDDED_BUNDLE / f"{stage}.npz"
        wanted = (*FEW_STEPS, "--stage", stage, "--output", str(tmp_path / stage), "--start", str(start))
        ran(tmp_path, "training", "fit", *prepared, *wanted, "--learning-rate", "1e-5")
    bundle = tmp_path / "bundle"
    runs = ("--levels", str(tmp_path / "levels"), "--fractures", str(tmp_path / "fractures"))
    ran(tmp_path, "training", "export", *runs, *prepared, "--output", str(bundle), "--name", "own", "--version", "7")
    report = tmp_path / "report"
    ran(tmp_path, "training", "evaluate", *prepared, "--bundle", str(bundle), "--output", str(report))
    assert "not a medical device" in (report / "report.html").read_text(encoding="utf-8").lower()
    assert "RSNA shape" in (report / "figures.json").read_text(encoding="utf-8")

    ran(tmp_path, "worker.cli", "model", "install", str(bundle))
    listed = ran(tmp_path, "worker.cli", "model", "list")
    [sha256] = [word for line in listed.splitlines() if "own 7" in line for word in line.split()[:1]]
    ran(tmp_path, "worker.cli", "model", "promote", sha256)
    study = neck(TEST_SEED + 599, {})
    write_series(study.hu, study.spacing_mm, tmp_path / "study")
    ran(tmp_path, "worker.cli", "analyze", str(tmp_path / "study"), "--output", str(tmp_path / "answer"))
    findings = json.loads((tmp_path / "answer" / "findings.json").read_text(encoding="utf-8"))
    assert (findings["bundle"]["name"], findings["bundle"]["version"]) == ("own", "7")
    assert findings["levels"]
