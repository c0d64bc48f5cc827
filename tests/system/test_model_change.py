"""The serving model is changed while studies come, by a real worker: nothing is lost, each result names its model."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from dicom_node.scu import send
from model.bundle import load_bundle
from tests.peers import wait_until
from tests.system.conftest import study_uid
from tests.system.product import Product, running_product
from tests.worker.bundles import section, write_bundle
from tests.worker.scripted import ScriptedPacs
from worker.queries import StudyView
from worker.records import Run, ShadowRun, ShadowState
from worker.states import StudyState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    made = ScriptedPacs()
    yield made
    made.stop()


def receive(product: Product, folder: Path) -> str:
    """Send a study by C-STORE."""
    assert all(outcome.accepted for outcome in send(sorted(folder.iterdir()), product.peer, "SENDER"))
    return study_uid(folder)


def model(product: Product, *arguments: object) -> str:
    """Run ``cspine model``; it must do what it was told."""
    done = product.cli("model", *map(str, arguments))
    assert done.returncode == 0, done.stderr
    return done.stdout


def bundle_of(view: StudyView) -> str:
    """The bundle that the study's manifest names."""
    assert view.manifest is not None
    bundle = view.manifest["bundle"]
    assert isinstance(bundle, dict)
    return str(bundle["sha256"])


def compared(product: Product) -> list[ShadowRun]:
    """What the shadow is through with."""
    with product.database.reading() as session:
        rows = session.scalars(select(ShadowRun).where(ShadowRun.state.in_([ShadowState.COMPARED, ShadowState.FAILED])))
        return list(rows)


def test_models_are_promoted_and_rolled_back_under_studies_and_a_shadow_sends_nothing(
    tmp_path: Path, pacs: ScriptedPacs, make_neck: Callable[[int], Path]
) -> None:
    alarming = section("calibration", offset=8.0)
    second = write_bundle(tmp_path / "second", calibration=alarming)
    sha256, built_in = load_bundle(second).sha256, load_bundle().sha256
    with running_product(tmp_path / "data", str(pacs.peer)) as product:
        model(product, "install", second)
        model(product, "shadow", sha256[:12])
        first = receive(product, make_neck(41))
        assert bundle_of(product.wait_for_delivery(first)) == built_in
        wait_until(lambda: len(compared(product)) == 1, 180, "the shadow to have looked at the first study")
        (row,) = compared(product)
        assert (row.state, row.failure, row.bundle_sha256) == (ShadowState.COMPARED, None, sha256)
        assert len(pacs.received) == len(set(pacs.received)) == 4
        assert "1 studies compared" in model(product, "report", "--output", tmp_path / "report")
        assert (tmp_path / "report" / "report.html").is_file()
        model(product, "shadow", "--off")

        in_flight = receive(product, make_neck(42))
        product.wait(in_flight, lambda view: view.state is StudyState.ANALYZING, "the analysis to begin")
        model(product, "promote", sha256[:12], "--reason", "the test")
        assert bundle_of(product.wait_for_delivery(in_flight)) == built_in
        after = receive(product, make_neck(43))
        assert bundle_of(product.wait_for_delivery(after)) == sha256
        assert "second" in product.cli("doctor").stdout

        model(product, "rollback")
        last = receive(product, make_neck(44))
        assert bundle_of(product.wait_for_delivery(last)) == built_in
        assert len(pacs.received) == len(set(pacs.received)) == 16
        with product.database.reading() as session:
            made_by = [run.bundle_sha256 for run in session.scalars(select(Run).order_by(Run.id))]
        assert made_by == [built_in, built_in, sha256, built_in]
