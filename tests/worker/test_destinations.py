"""Destinations: one from the environment, several from the file; every error names the key and says what to do."""

import re
import shutil
from pathlib import Path

import pytest

from dicom_node.node import Peer
from dicom_node.profiles import PROFILES, profile_of
from tests.certificates import Certificates, make_certificates
from tests.conftest import PROJECT
from worker.destination_file import parse_destinations, read_destinations
from worker.destinations import CommitmentMode, Destination, profiles_of
from worker.settings import Settings, SettingsError

EXAMPLE = PROJECT / "deploy" / "destinations.example.toml"


pytestmark = pytest.mark.peer  # certificates are made with openssl


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def folder(tmp_path: Path, certificates: Certificates) -> Path:
    """A folder with every file that the tables below name."""
    for name, source in (
        ("ca.pem", certificates.authority),
        ("own.pem", certificates.client.certificate),
        ("own.key", certificates.client.key),
    ):
        shutil.copy(source, tmp_path / name)
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "empty").touch()
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "destinations.toml"
    path.write_text(text)
    return path


def test_the_one_destination_of_the_environment_has_its_address_as_name_and_the_default_profile():
    peer = Peer.parse("PACS@pacs.example:104")
    assert read_destinations(Settings()) == ()
    [destination] = read_destinations(Settings(destination=peer))
    assert destination == Destination("PACS@pacs.example:104", peer=peer)
    assert str(destination) == "PACS@pacs.example:104"
    assert (destination.profile, destination.confirms, destination.reconcile) == (PROFILES["default"], False, False)


def test_the_example_is_a_valid_file_also_where_it_is_commented_out(folder: Path):
    [only] = parse_destinations(EXAMPLE)
    assert (only.name, only.commitment, only.reconcile) == ("pacs", CommitmentMode.STORAGE_COMMITMENT, True)
    text = re.sub(r"^# (?=\[\[|\w+ = )", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    for path, stand_in in (("tls/ca.pem", "ca.pem"), ("tls/cspine", "own"), ("secrets/cloud.token", "token")):
        assert path in text
        text = text.replace(path, stand_in)
    pacs, archive, cloud = parse_destinations(write(folder, text))
    assert pacs == only
    assert archive.tls is not None
    assert archive.tls.key == folder / "own.key"
    assert archive.profile == profile_of("air")
    assert (cloud.url, cloud.peer) == ("https://cloud.example/dicom-web", None)
    assert cloud.profile == profile_of("minimal", ["pdf"])
    assert (cloud.commitment, cloud.commitment_wait_seconds) == (CommitmentMode.QUERY, 60)
    assert str(cloud) == "cloud (https://cloud.example/dicom-web)"


def test_one_destination_at_least_gets_every_result(folder: Path):
    asked = '[[destination]]\nname = "b"\npeer = "B@h:104"\nautomatic = false\n'
    first, second = parse_destinations(write(folder, f"[[destination]]\n{PEER}{asked}"))
    assert (first.automatic, second.automatic) == (True, False)
    with pytest.raises(SettingsError, match="every result"):
        parse_destinations(write(folder, asked))


def test_results_are_built_for_every_profile_once():
    air = profile_of("air")
    destinations = [Destination("a", profile=air), Destination("b"), Destination("c", profile=air)]
    assert profiles_of(destinations) == (air, PROFILES["default"])
    assert profiles_of(()) == (PROFILES["default"],)


PEER = 'name = "a"\npeer = "A@h:104"\n'
WEB = 'name = "a"\nurl = "https://h/dicom-web"\n'


@pytest.mark.parametrize(
    ("text", "key", "advice"),
    [
        ('peer = "A@h:104"', "name", "give the destination a name"),
        ('name = "a b"\npeer = "A@h:104"', "name", "hyphens"),
        ('name = "a"', "peer", "give either peer"),
        (PEER + 'url = "https://h/x"', "peer", "give either peer"),
        ('name = "a"\npeer = "h:104"', "peer", "AET@HOST:PORT"),
        ('name = "a"\nurl = "ftp://h/x"', "url", "base URL"),
        ('name = "a"\nurl = "https://u:hunter2@h/x"', "url", "token_file"),
        ('name = "a"\nurl = "https://h:hunter2/x"', "url", "base URL"),
        (PEER + 'profile = "best"', "profile", "default, air, minimal, ohif"),
        (PEER + "profile = 3", "profile", "text in quotes"),
        (PEER + 'switches = ["gold"]', "switches", "labelmap"),
        (PEER + 'switches = "pdf"', "switches", "a list"),
        (PEER + 'profile = "minimal"\nswitches = ["labelmap"]', "switches", "no segmentation"),
        (PEER + 'commitment = "always"', "commitment", "storage-commitment, query, none"),
        (PEER + "commitment_wait_seconds = -1", "commitment_wait_seconds", "30 days"),
        (PEER + "commitment_wait_seconds = true", "commitment_wait_seconds", "30 days"),
        (PEER + 'reconcile = "yes"', "reconcile", "true or false"),
        (PEER + "automatic = 1", "automatic", "true or false"),
        (PEER + "recconcile = true", "recconcile", "did you mean reconcile"),
        (PEER + 'token_file = "token"', "token_file", "DICOMweb"),
        (PEER + 'tls = { trusted = "nowhere.pem" }', "tls.trusted", "nowhere.pem cannot be read"),
        (PEER + 'tls = { key = "own.key" }', "tls.certificate", "together"),
        (PEER + 'tls = { trusted = "ca.pem", certificate = "own.pem" }', "tls.certificate", "together"),
        (PEER + 'tls = { trusted = "ca.pem", verify = false }', "tls.verify", "is not a key"),
        (PEER + "tls = true", "tls", "a table"),
        (PEER + 'tls = { trusted = "token" }', "tls", "name a PEM file"),
        (
            PEER + 'tls = { trusted = "ca.pem", certificate = "own.pem", key = "ca.pem" }',
            "tls",
            "no certificate and key",
        ),
        (WEB + 'token_file = "empty"', "token_file", "is empty"),
        (WEB + 'commitment = "storage-commitment"', "commitment", "query"),
        (WEB + 'switches = ["deflated"]', "switches", "negotiated"),
        ('name = "a"\nurl = "http://h/x"\ntls = { trusted = "ca.pem" }', "tls", "https:"),
        ('name = "a"\nurl = "http://h/x"\ntoken_file = "token"', "token_file", "https:"),
    ],
)
def test_what_is_wrong_is_told_by_the_number_of_the_destination_and_the_key(
    folder: Path, text: str, key: str, advice: str
):
    path = write(folder, f"[[destination]]\n{text}\n")
    with pytest.raises(SettingsError) as caught:
        read_destinations(Settings(destinations_file=path))
    [problem] = str(caught.value).split("; ")
    assert re.match(rf"destinations.toml: destination 1( \(.*\))?: {re.escape(key)}: ", problem)
    assert advice in problem
    assert "hunter2" not in problem


def test_everything_that_is_wrong_is_told_at_once(folder: Path):
    text = f"[[destination]]\n{PEER}profile = 'x'\n[[destination]]\n{PEER}commitment = 'x'\n[[destinations]]\n"
    with pytest.raises(SettingsError) as caught:
        parse_destinations(write(folder, text))
    told = str(caught.value)
    for part in ("profile", "destination 2 (a): commitment", "destinations is not known", "name a is used by two"):
        assert part in told
    assert "address A@h:104 is used by two" in told


@pytest.mark.parametrize(
    ("content", "advice"),
    [(b"", "expected 1 to 16"), (b"[[destination]", "is no TOML"), (b"\xff", "is no TOML"), (None, "cannot be read")],
)
def test_a_file_that_cannot_be_used_is_named_by_its_variable_or_name(
    tmp_path: Path, content: bytes | None, advice: str
):
    path = tmp_path / "destinations.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=advice) as caught:
        read_destinations(Settings(destinations_file=path))
    assert "destinations.toml" in str(caught.value)


def test_the_environment_names_one_destination_or_the_file_and_not_both(tmp_path: Path):
    with pytest.raises(SettingsError, match="remove either CSPINE_DESTINATION or CSPINE_DESTINATIONS_FILE"):
        Settings.from_environment({"CSPINE_DESTINATION": "A@h:104", "CSPINE_DESTINATIONS_FILE": str(tmp_path)})
