"""What is uploaded at the console of the whole product: a study reaches its result, an image its prediction."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.model.image_bundles import write_image_bundle
from tests.peers import free_port, wait_until
from tests.system.conftest import study_uid
from tests.system.product import Product, running_product
from tests.worker.console_client import ROOT, Browser
from tests.worker.test_console_uploads import files_of, send, zipped
from tests.worker.test_single_images import neck
from worker.accounts import Accounts
from worker.console_records import Role
from worker.installation_key import InstallationKey
from worker.sign_in import SignIns
from worker.uploads import AE_TITLE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def script_of(product: Product) -> Browser:
    """A program with the token of an operator."""
    sign_ins = SignIns(product.database, InstallationKey.of(product.settings), lambda: datetime.now(UTC))
    accounts = Accounts(sign_ins)
    accounts.add("operator", Role.OPERATOR, ROOT, sees_identity=False)
    return Browser(product.settings.console_port, token=accounts.make_token("operator", timedelta(days=1), ROOT))


def test_an_uploaded_study_and_an_image_reach_their_results(tmp_path: Path, make_neck: Callable[[int], Path]) -> None:
    bundle = write_image_bundle(tmp_path / "bundle")
    settings = {"CONSOLE": "on", "CONSOLE_PORT": str(free_port()), "IMAGE_BUNDLE_PATH": str(bundle)}
    folder = make_neck(7)
    with running_product(tmp_path / "data", "", **settings) as product:
        script = script_of(product)
        wait_until(lambda: answers(script), 60, "the console")
        sent = send(script, "/uploads/study", zipped(files_of(folder)))
        assert sent.status == 200, sent.text
        assert sent.json["files"] == {"TAKEN": len(files_of(folder))}
        image = script.get(send(script, "/uploads/images", neck()).json["page"]).json["images"][0]
        view = product.wait_for_end(study_uid(folder))
        assert view.line.calling_ae_title == AE_TITLE
        assert script.get("/studies/1").json["failure_code"] == "NO_DESTINATION"
        result = script.get("/studies/1/result").json
        assert result["result"] in {"Fracture detected", "No fracture detected"}
        assert result["findings"]["levels"]
        wait_until(lambda: script.get(image["page"]).json["state"] not in {"WAITING", "RUNNING"}, 120, "the prediction")
        predicted = script.get(image["page"]).json
        assert (predicted["state"], predicted["model"]) == ("PREDICTED", "tiny 1")
        assert script.get(f"{image['page']}/overlay.png").body.startswith(b"\x89PNG")


def answers(script: Browser) -> bool:
    """Whether the console is there."""
    try:
        return script.get("/uploads").status == 200
    except OSError:
        return False
