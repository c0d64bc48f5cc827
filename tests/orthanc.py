"""Orthanc as the test PACS: started on loopback, asked over its REST and DICOMweb interfaces."""

import http.client
import json
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from tests.processes import (
    PeerProcess,
    accepts_connections,
    compile_loopback_shim,
    free_port,
    require,
    require_file,
    start_on_free_port,
    wait_until,
)

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
OUR_NAME = "cspine"


class AutoPush(Enum):
    """What Orthanc sends to us by itself once it is stable."""

    NOTHING = ""
    CT_SERIES = """
function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] == 'CT' and metadata['RemoteAET'] ~= '{ae_title}' then
    RestApiPost('/modalities/{name}/store', DumpJson({{Resources = {{seriesId}}, Asynchronous = true}}, true))
  end
end
"""
    WHOLE_STUDY = """
function OnStableStudy(studyId, tags, metadata)
  RestApiPost('/modalities/{name}/store', DumpJson({{Resources = {{studyId}}, Asynchronous = true}}, true))
end
"""


@dataclass(frozen=True)
class OrthancOptions:
    """How the test PACS is set up: our AE title as it sees it, its own, and what it pushes to us."""

    ae_title: str = "ORTHANC"
    our_ae_title: str = "CSPINE"
    auto_push: AutoPush = AutoPush.NOTHING
    stable_seconds: int = 3
    overrides: tuple[tuple[str, Any], ...] = ()


@dataclass
class Orthanc:
    """A running Orthanc. ``peer`` is its DICOM address as ``AET@HOST:PORT``."""

    options: OrthancOptions
    folder: Path
    process: PeerProcess
    dicom_port: int
    http_port: int

    @property
    def peer(self) -> str:
        """The DICOM address, for ``Peer.parse``."""
        return f"{self.options.ae_title}@127.0.0.1:{self.dicom_port}"

    @property
    def log(self) -> Path:
        """Orthanc's log file (verbose for DICOM)."""
        return self.process.log

    def request(self, method: str, path: str, body: bytes = b"", accept: str = "application/json") -> bytes:
        """Send one HTTP request and return the body of the answer; raise ``OrthancError`` unless it is a 2xx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        try:
            connection.request(method, path, body=body or None, headers={"Accept": accept})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            message = f"{method} {path}: {response.status} {content[:500]!r}"
            raise OrthancError(message)
        return content

    def get(self, path: str) -> Any:
        """Return the JSON answer of a GET request."""
        return json.loads(self.request("GET", path))

    def post(self, path: str, body: Any) -> Any:
        """Return the JSON answer of a POST request with a JSON body."""
        return json.loads(self.request("POST", path, json.dumps(body).encode()))

    def connect(self, our_port: int, our_ae_title: str | None = None, host: str = "127.0.0.1") -> None:
        """Tell Orthanc where our SCP listens: DICOM modality ``cspine``, which the auto-push sends to."""
        modality = {"AET": our_ae_title or self.options.our_ae_title, "Host": host, "Port": our_port}
        self.request("PUT", f"/modalities/{OUR_NAME}", json.dumps(modality).encode())

    def upload(self, file: Path) -> str:
        """Store one Part 10 file over REST (not over DICOM); return Orthanc's id of the instance."""
        answer = json.loads(self.request("POST", "/instances", file.read_bytes()))
        return str(answer["ID"])

    def upload_all(self, files: Sequence[Path]) -> None:
        """Store Part 10 files over REST."""
        for file in files:
            self.upload(file)

    def push(self, resources: Sequence[str]) -> Any:
        """Send resources (Orthanc ids) to us by C-STORE now and return Orthanc's summary of the job."""
        return self.post(f"/modalities/{OUR_NAME}/store", {"Resources": list(resources), "Synchronous": True})

    def qido(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        """Search by QIDO-RS, for example ``qido("studies", PatientID="1")``: DICOM JSON data sets, maybe none."""
        query = urllib.parse.urlencode(parameters)
        answer = self.request("GET", f"/dicom-web/{path}?{query}", accept="application/dicom+json")
        return list(json.loads(answer or b"[]"))

    def qido_series(self, study_instance_uid: str) -> list[Mapping[str, Any]]:
        """Return the series of a study found by QIDO-RS, each as {keyword-free tag: first value}."""
        found = self.qido(f"studies/{study_instance_uid}/series", includefield="all")
        return [{tag: (element.get("Value") or [None])[0] for tag, element in series.items()} for series in found]

    def modalities(self, study_instance_uid: str) -> list[str]:
        """Return the sorted modalities of the series of a study, as QIDO-RS answers them (``["CT", "SEG", "SR"]``)."""
        return sorted(str(series["00080060"]) for series in self.qido_series(study_instance_uid))

    def studies(self) -> list[dict[str, Any]]:
        """Return every study with its main tags, as Orthanc's REST interface gives them."""
        return list(self.get("/studies?expand"))

    def instances(self, study_instance_uid: str, modality: str | None = None) -> list[str]:
        """Return Orthanc's ids of the instances of a study, of one modality when it is given."""
        query = {"StudyInstanceUID": study_instance_uid, **({"Modality": modality} if modality else {})}
        return list(self.post("/tools/find", {"Level": "Instance", "Query": query}))

    def download(self, instance: str, folder: Path) -> Path:
        """Write one instance (Orthanc id) as a Part 10 file into ``folder`` and return its path."""
        path = folder / f"{instance}.dcm"
        path.write_bytes(self.request("GET", f"/instances/{instance}/file", accept="application/dicom"))
        return path

    def download_study(self, study_instance_uid: str, folder: Path, modality: str | None = None) -> list[Path]:
        """Write the instances of a study, of one modality when it is given, as Part 10 files and return their paths."""
        return [self.download(instance, folder) for instance in self.instances(study_instance_uid, modality)]

    def jobs(self) -> list[dict[str, Any]]:
        """Return Orthanc's jobs: one ``DicomModalityStore`` job per push."""
        return list(self.get("/jobs?expand"))

    def changes(self) -> list[dict[str, Any]]:
        """Return what happened in the PACS, oldest first: entries with ``ChangeType``, such as ``StableSeries``."""
        return list(self.get("/changes?limit=100000")["Changes"])

    def wait_for_modalities(self, study_instance_uid: str, expected: Sequence[str], seconds: float = 60) -> None:
        """Wait until QIDO-RS finds exactly these modalities in the study."""
        wanted = sorted(expected)
        wait_until(lambda: self.modalities(study_instance_uid) == wanted, seconds, f"{wanted} in the PACS", 0.2)

    def start(self) -> None:
        """Start it again after ``stop`` or ``process.kill()``, with the same ports and storage."""
        if not self.process.start_and_wait(self.is_ready):
            raise OrthancError(self.process.last_words())

    def stop(self) -> None:
        """Stop it; it frees its DICOM port some seconds after the signal, so this waits for its end."""
        self.process.stop(30)

    def is_ready(self) -> bool:
        """Return whether REST, DICOMweb and the DICOM port answer."""
        try:
            self.request("GET", "/dicom-web/studies?limit=1", accept="application/dicom+json")
        except (OSError, OrthancError, http.client.HTTPException):
            return False
        return accepts_connections(self.dicom_port)


class OrthancError(Exception):
    """Orthanc answered something else than success, or did not start."""


def configuration(options: OrthancOptions, folder: Path, dicom_port: int, http_port: int) -> dict[str, Any]:
    """Return the content of Orthanc's configuration file; nothing under /etc is read."""
    scripts = []
    if options.auto_push is not AutoPush.NOTHING:
        script = folder / "autopush.lua"
        script.write_text(options.auto_push.value.format(ae_title=options.our_ae_title, name=OUR_NAME))
        scripts.append(str(script))
    return {
        "Name": "cspine test PACS",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(require_file(DICOMWEB_PLUGIN))],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": options.ae_title,
        "DicomModalities": {OUR_NAME: [options.our_ae_title, "127.0.0.1", 104]},
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StableAge": options.stable_seconds,
        "LuaScripts": scripts,
        "SaveJobs": False,
        "SyncStorageArea": False,
        "DicomScuTimeout": 30,
        **dict(options.overrides),
    }


@contextmanager
def orthanc(folder: Path, options: OrthancOptions | None = None) -> Iterator[Orthanc]:
    """Run Orthanc with its storage, configuration and log under ``folder``; call ``connect`` once our port is known."""
    program = require("Orthanc")
    require_file(DICOMWEB_PLUGIN)
    folder.mkdir(parents=True, exist_ok=True)
    shim = compile_loopback_shim(folder)
    chosen = options or OrthancOptions()
    pacs: Orthanc | None = None

    def attempt(dicom_port: int) -> tuple[PeerProcess, Any]:
        nonlocal pacs
        http_port = free_port()
        settings = folder / "orthanc.json"
        settings.write_text(json.dumps(configuration(chosen, folder, dicom_port, http_port), indent=2))
        command = [str(program), "--verbose-dicom", str(settings)]
        process = PeerProcess(command, folder / "orthanc.log", {"LD_PRELOAD": str(shim)})
        pacs = Orthanc(chosen, folder, process, dicom_port, http_port)
        return process, pacs.is_ready

    process, _ = start_on_free_port(attempt)
    assert pacs is not None
    try:
        yield pacs
    finally:
        process.stop(30)
