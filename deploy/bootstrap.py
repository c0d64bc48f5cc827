"""Prepare this checkout: a ``.venv`` with the locked dependencies and, when asked and allowed, the test peers.

Needs nothing but a Python 3.11 to 3.13. Does its work once: a stamp in the ``.venv`` says for which lock file it was
made. Nothing is installed outside the ``.venv``, except the test peers: only with ``--peers``, as root, from Debian's
packages, whose services are not started.
"""

from __future__ import annotations  # an older Python must reach the message that says which one is needed

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
STAMP = VENV / "cspine-bootstrap"
OLDEST, NEWEST = (3, 11), (3, 13)
PIP_WHEELS = Path("/usr/share/python-wheels")
POLICY = Path("/usr/sbin/policy-rc.d")
PEERS = {
    "redis-server": ("redis-server",),
    "postgresql": ("/usr/lib/postgresql/*/bin/initdb", "initdb"),
    "orthanc": ("Orthanc",),
    "orthanc-dicomweb": ("/usr/share/orthanc/plugins/libOrthancDicomWeb.so",),
    "dcmtk": ("/usr/bin/storescu",),
    "dicom3tools": ("dciodvfy",),
    "strace": ("strace",),
    "gcc": ("cc",),
    "libc6-dev": ("/usr/include/stdio.h",),
    "openssl": ("openssl",),
    "procps": ("ps",),
    "chromium-headless-shell": ("/usr/lib/chromium/chromium-headless-shell",),
    "npm": ("npm",),
    "prometheus": ("promtool",),
}
"""Debian package -> where to see that it is there: programs on the PATH, or path patterns; one of them is enough."""


class SetUpError(Exception):
    """The set-up cannot go on; the message says what the reader can do."""


def say(line: str) -> None:
    """Write one line for the person who waits."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(command: Sequence[object], environment: Mapping[str, str] | None = None, folder: Path = PROJECT) -> None:
    """Run a command; raise ``SetUpError`` with its line when it fails."""
    line = [str(word) for word in command]
    if subprocess.run(line, check=False, cwd=folder, env={**os.environ, **(environment or {})}).returncode != 0:
        message = f"this failed: {' '.join(line)}"
        raise SetUpError(message)


def version_of(python: str) -> tuple[int, int] | None:
    """Return (major, minor) of an interpreter, None when it does not run (a pyenv shim without a version, say)."""
    with contextlib.suppress(OSError):
        command = [python, "-c", "import sys; print(*sys.version_info[:2])"]
        asked = subprocess.run(command, check=False, capture_output=True, text=True)
        if asked.returncode == 0:
            major, minor = asked.stdout.split()
            return int(major), int(minor)
    return None


def choose_python() -> str:
    """Return the interpreter for the ``.venv``: the one that runs this if it is supported, else the newest that is."""
    found = {}
    for name in (sys.executable, "python3.13", "python3.12", "python3.11"):
        version = version_of(name)
        if version is not None and OLDEST <= version <= NEWEST:
            return name
        if version is not None:
            found[name] = version
    seen = ", ".join(f"{name} is {major}.{minor}" for name, (major, minor) in found.items()) or "there is no python3"
    message = f"cspine needs Python 3.11, 3.12 or 3.13 on the PATH, but {seen}. On Debian 12: apt-get install python3"
    raise SetUpError(message)


def identity() -> str:
    """Return what a finished ``.venv`` was made for: its place, and a digest of the lock and the project file."""
    digest = hashlib.sha256(str(VENV).encode())
    for name in ("requirements.lock", "pyproject.toml"):
        digest.update((PROJECT / name).read_bytes())
    return f"{VENV}\n{digest.hexdigest()}\n"


def make_venv() -> None:
    """Make the ``.venv`` anew when it is missing, broken, or was made elsewhere (its scripts name their place)."""
    python = VENV / "bin" / "python"
    version = version_of(str(python))
    made_at = STAMP.read_text().splitlines()[0] if STAMP.exists() else str(VENV)
    if version is not None and OLDEST <= version <= NEWEST and made_at == str(VENV):
        return
    chosen = choose_python()
    has_ensurepip = subprocess.run([chosen, "-c", "import ensurepip"], check=False, capture_output=True).returncode == 0
    say(f"Making .venv with {chosen} ...")
    run([chosen, "-m", "venv", "--clear", *([] if has_ensurepip else ["--without-pip"]), VENV])


def provide_pip() -> None:
    """Install pip into the ``.venv`` where Debian's Python came without: from the wheel in ``python3-pip-whl``."""
    python = VENV / "bin" / "python"
    if subprocess.run([str(python), "-c", "import pip"], check=False, capture_output=True).returncode == 0:
        return
    with tempfile.TemporaryDirectory(prefix="cspine-pip-") as name:
        wheels = sorted(PIP_WHEELS.glob("pip-*.whl")) or download_pip(Path(name))
        if not wheels:
            message = "found no pip for .venv. On Debian or Ubuntu: apt-get install python3-venv, then try again"
            raise SetUpError(message)
        run([python, wheels[-1] / "pip", "install", "--quiet", "--no-index", wheels[-1]])


def download_pip(folder: Path) -> list[Path]:
    """Fetch Debian's pip wheel into ``folder`` without installing a package; empty where that cannot be done."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return []
    say("Fetching pip from Debian's package python3-pip-whl ...")
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    as_root = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root"]  # the folder is closed to apt's own user
    own_lists = [*as_root, "-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    wanted = ["download", "python3-pip-whl"]
    for lines in ([[*as_root, *wanted]], [[*own_lists, "update"], [*own_lists, *wanted]]):
        if all(subprocess.run(line, check=False, cwd=folder, capture_output=True).returncode == 0 for line in lines):
            break
    for package in folder.glob("*.deb"):
        run(["dpkg-deb", "-x", package, folder])
    return sorted(folder.glob("usr/share/python-wheels/pip-*.whl"))


def install_dependencies() -> None:
    """Install the locked dependencies and this checkout (editable), unless the stamp says that this was done."""
    if STAMP.exists() and STAMP.read_text() == identity() and version_of(str(VENV / "bin" / "python")) is not None:
        return
    make_venv()
    provide_pip()
    say("Installing the locked dependencies into .venv (the first time this takes some minutes) ...")
    pip = [VENV / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    quiet = {"PIP_ROOT_USER_ACTION": "ignore", "PYTHONNOUSERSITE": "1", "PIP_USER": "0"}
    run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", "requirements.lock"], quiet)
    run([*pip, "--no-deps", "--no-index", "--no-build-isolation", "--editable", "."], quiet)
    STAMP.write_text(identity())


def is_there(places: Sequence[str]) -> bool:
    """Return whether one of the places (a program's name or an absolute path pattern) exists."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"])
    return any(
        any(Path("/").glob(place[1:])) if place.startswith("/") else shutil.which(place, path=path) for place in places
    )


def missing_packages() -> list[str]:
    """Return the Debian packages of the test peers that this machine lacks."""
    return [package for package, places in PEERS.items() if not is_there(places)]


def has_candidate(package: str) -> bool:
    """Return whether apt could install the package (Ubuntu has Chromium only as a snap)."""
    policy = ["apt-cache", "policy", package]
    told = subprocess.run(policy, check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout
    return "Candidate:" in told and "Candidate: (none)" not in told


@contextlib.contextmanager
def services_stay_down() -> Iterator[None]:
    """Keep package scripts from starting services: Debian's ``policy-rc.d``, unless the machine has one of its own."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()


def install_peers() -> None:
    """Install the missing test peers from Debian's packages when root; else say what the tests will skip, and why."""
    packages = missing_packages()
    if not packages:
        return
    line = f"apt-get install {' '.join(packages)}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        say(f"Some test peers are missing; their tests skip (they fail where CI=true). On Debian or Ubuntu: {line}")
        return
    say(f"Installing test peers: {' '.join(packages)} ...")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with services_stay_down(), tempfile.TemporaryFile("w+") as log:
        run([*apt, "update"], quiet)
        unknown = [package for package in packages if not has_candidate(package)]
        if unknown:
            say(f"This distribution has no {', '.join(unknown)}; their tests skip (they fail where CI=true).")
        packages = [package for package in packages if package not in unknown]
        command = [*apt, "-o", "Dpkg::Options::=--force-confold", "install", "--yes", "--no-install-recommends"]
        environment = {**os.environ, **quiet}
        done = subprocess.run([*command, *packages], check=False, stdout=log, stderr=log, env=environment)
        if done.returncode != 0:
            log.seek(0)
            message = f"{log.read()[-2000:]}\nthis failed: {line}"
            raise SetUpError(message)


def main() -> int:
    """Prepare the checkout; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true", help="install missing test peers too (root on Debian, Ubuntu)")
    arguments = parser.parse_args()
    cache = PROJECT / ".cache"
    cache.mkdir(exist_ok=True)
    try:
        with (cache / "bootstrap.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second finds the work done
            install_dependencies()
            if arguments.peers:
                install_peers()
    except SetUpError as error:
        sys.stderr.write(f"bootstrap: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
