"""``cspine analyze``: a folder in, result files out, with the pipeline of the GPU worker and without any network."""

import json
import tempfile
from pathlib import Path

from dicom_node.encode import encode
from dicom_node.planes import Volume
from dicom_node.rendering import render_overlay
from model.bundle import Bundle
from worker.pipeline import Stages, analyze_files
from worker.sending import files_below
from worker.settings import Settings
from worker.tools import build_tools


def analyze_folder(folder: Path, output: Path, settings: Settings, bundle: Bundle) -> dict[str, object]:
    """Analyze the study in ``folder`` with a bundle, write result objects, findings and picture; return the findings.

    Raises ``Ineligible`` or ``UnusableSeries`` with the reason when the study cannot be analyzed: nothing is written.
    """
    stages = Stages()
    with stages.stage("load"):
        tools = build_tools(settings, bundle)
    with tempfile.TemporaryDirectory(prefix="cspine-analyze-") as scratch:
        analysis = analyze_files(files_below(folder), Path(scratch), tools, stages)
        output.mkdir(parents=True, exist_ok=True)
        for result in analysis.results:
            (output / f"{result.variant}.dcm").write_bytes(encode(result.dataset))
        hu, spacing_mm = analysis.reading.series.to_standard()
        found = analysis.prediction
        volume = Volume(hu, found.labels, spacing_mm, found.lesions, found.activation)
        render_overlay(volume, analysis.findings).save(output / "overlay.png")
    findings = {
        **analysis.findings.as_json(),
        "series": [
            {"series_instance_uid": verdict.series_instance_uid, "chosen": verdict.chosen, "reason": verdict.reason}
            for verdict in analysis.reading.verdicts
        ],
        "bundle": {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256},
        "seconds": analysis.seconds,
        "notice": "Not a medical device. Not for diagnosis.",
    }
    (output / "findings.json").write_text(json.dumps(findings, indent=2) + "\n")
    return findings
