"""``cspine doctor``: is this installation sound? One line a check, each with what to do."""

from collections.abc import Mapping

from dicom_node.errors import PeerError
from worker.destination_file import read_destinations
from worker.destinations import Destination
from worker.links import LinkMaker
from worker.readiness import Check, check_broker, check_database, check_disk, check_models
from worker.rule_file import read_rules
from worker.settings import Settings, SettingsError, misspelled


def run_checks(settings: Settings, environ: Mapping[str, str]) -> list[Check]:
    """Every check, in the order in which an operator would look; none changes anything."""
    found = [check_settings(environ), check_disk(settings), check_database(settings), check_broker(settings)]
    return [*found, *check_rules(settings), *check_models(settings), *check_destinations(settings)]


def check_settings(environ: Mapping[str, str]) -> Check:
    """Whether a variable looks like a setting but is none."""
    wrong = misspelled(environ)
    return Check("settings", not wrong, "; ".join(wrong) or "all known", "correct or remove the variable")


def check_rules(settings: Settings) -> list[Check]:
    """Whether the rules of the site are right, where there are any."""
    try:
        rules = read_rules(settings)
    except SettingsError as error:
        return [Check("rules", passed=False, finding=str(error), advice="correct it: see `cspine rules check`")]
    if rules is None:
        return []
    return [Check("rules", passed=True, finding=f"{rules.file_name}: {len(rules.rules)} rules, no mistake found")]


def check_destinations(settings: Settings) -> list[Check]:
    """Whether each destination answers: a peer C-ECHO, a DICOMweb service a query."""
    try:
        destinations = read_destinations(settings)
    except SettingsError as error:
        return [Check("pacs", passed=False, finding=str(error), advice="correct the file of destinations")]
    if not destinations:
        advice = "set CSPINE_DESTINATION to AET@HOST:PORT, or CSPINE_DESTINATIONS_FILE"
        return [Check("pacs", passed=False, finding="no destination", advice=advice)]
    named = settings.destinations_file is not None
    return [_check_destination(item, settings, item.name if named else "pacs") for item in destinations]


def _check_destination(destination: Destination, settings: Settings, name: str) -> Check:
    try:
        LinkMaker(settings.ae_title)(destination).verify()
    except PeerError as error:
        advice = "check address, port, AE titles and certificates, and that the PACS knows ours"
        return Check(name, passed=False, finding=str(error), advice=advice)
    return Check(name, passed=True, finding=f"{destination} answers")
