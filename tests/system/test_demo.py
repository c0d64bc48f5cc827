"""The main job as a user runs it: ``cspine demo`` and ``cspine analyze`` on embedded defaults, nothing installed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.seg import segread
from PIL import Image
from pydicom import dcmread

from dicom_node.reading import read_study
from tests.peers import dciodvfy
from training.synthesis.phantom import demo_phantom
from training.synthesis.phantom_study import write_demo_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def cspine(*arguments: object, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a folder of its own."""
    command = [sys.executable, "-m", "worker.cli", *(str(argument) for argument in arguments)]
    return subprocess.run(
        command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=500, check=False
    )


def width_of(picture: Path) -> int:
    """The width of a picture in pixels."""
    with Image.open(picture) as image:
        return image.width


def probabilities(findings: Mapping[str, Any]) -> dict[str, bool]:
    """Level to whether it is suspected to be fractured."""
    return {level["vertebra"]: level["fractured"] for level in findings["levels"]}


def test_the_demo_names_seven_levels_and_the_fractured_one_and_the_pacs_holds_the_results(tmp_path: Path) -> None:
    done = cspine("demo", "--output", "out", "--json", "demo.json", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo.json").read_text())
    assert report["state"] == "DELIVERED"
    broken = {vertebra.name for vertebra in demo_phantom().fractured}
    assert probabilities(report["findings"]) == {f"C{number}": f"C{number}" in broken for number in range(1, 8)}
    assert report["pacs_holds_results"] is True
    assert set(report["files"]) == {"segmentation", "report", "narrative", "summary", "overlay"}
    assert report["seconds"]["last_instance_to_result"] > 0
    assert "Not a medical device" in done.stdout
    assert dcmread(tmp_path / report["files"]["segmentation"]).Modality == "SEG"
    assert width_of(tmp_path / report["files"]["overlay"]) >= 512


@pytest.mark.peer
def test_the_real_neck_is_delivered_with_levels_on_bone(tmp_path: Path, shared_data: Path) -> None:
    study = shared_data / "visible-human-female-neck"
    done = cspine("demo", "--study", study, "--output", "out", "--json", "demo.json", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo.json").read_text())
    assert report["state"] == "DELIVERED"
    limitations = {limitation["code"] for limitation in report["findings"]["limitations"]}
    assert "CUT_LEVEL" in limitations or "FEW_LEVELS" in limitations
    for kind in ("segmentation", "report", "narrative", "summary"):
        assert dciodvfy(tmp_path / report["files"][kind]).errors == ()
    levels, share = levels_on_bone(study, tmp_path / report["files"]["segmentation"], tmp_path / "scratch")
    assert {"C1", "C2", "C3", "C4"} <= levels
    assert share > 0.9


def levels_on_bone(study: Path, segmentation: Path, scratch: Path) -> tuple[set[str], float]:
    """The levels of a SEG on the grid of its source, and the share of their voxels within 3 mm of bone (> 150 HU)."""
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415

    series = read_study(sorted(study.iterdir()), scratch).series
    image = segread(segmentation)
    uids = [str(header.SOPInstanceUID) for header in series.headers]
    masks = image.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    distance_mm = distance_transform_edt(series.hu <= 150, sampling=series.spacing_mm)
    names = {image.get_segment_description(int(number)).segment_label for number in np.unique(masks[masks > 0])}
    return {name.split()[0] for name in names}, float((distance_mm[masks > 0] <= 3).mean())


def test_the_cadaver_head_with_a_wrong_hu_scale_ends_with_a_named_reason(tmp_path: Path, shared_data: Path) -> None:
    study = shared_data / "harvard-head"
    done = cspine("demo", "--study", study, "--output", "out", "--json", "demo.json", folder=tmp_path)
    report = json.loads((tmp_path / "demo.json").read_text())
    assert report["state"] in {"FAILED", "SKIPPED"}
    assert report["reason"]
    assert "Hounsfield" in report["reason"]
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.peer
def test_analyze_writes_valid_objects_findings_and_a_picture_without_any_network(tmp_path: Path) -> None:
    phantom = write_demo_study(tmp_path / "study")
    done = cspine("analyze", "study", "--output", "out", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    findings = json.loads(done.stdout)
    assert probabilities(findings) == {f"C{n}": f"C{n}" in {v.name for v in phantom.fractured} for n in range(1, 8)}
    assert json.loads((tmp_path / "out" / "findings.json").read_text()) == findings
    for name in ("segmentation.dcm", "report.dcm", "narrative.dcm", "summary.dcm"):
        assert dciodvfy(tmp_path / "out" / name).errors == ()
    assert width_of(tmp_path / "out" / "overlay.png") >= 512
    assert not (tmp_path / "cspine-data").exists()


def test_analyze_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "note.txt").write_text("no DICOM")
    (tmp_path / "study" / "empty.dcm").write_bytes(b"")
    done = cspine("analyze", "study", "--output", "out", folder=tmp_path)
    assert done.returncode == 1
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
