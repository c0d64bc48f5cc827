"""A change of the serving model: between two studies, never under one, and never another model than the chosen one."""

import dataclasses
from pathlib import Path

import pytest
from sqlalchemy import select

from model.bundle import load_bundle
from model.errors import PredictorOutOfMemory
from tests.worker.bundles import ACTOR, Models, write_bundle
from tests.worker.scripted import ReadsTheBoxes, Workplace
from worker import model_choice, studies
from worker.model_choice import chosen
from worker.model_store import ModelStore
from worker.records import ModelRole, Run, Study
from worker.states import Cause, StudyState
from worker.studies import Move
from worker.sweeps import Sweeps


def analyze(place: Workplace, models: Models) -> None:
    """Analyze the one study."""
    place.analyzer(models.loaded.serving).analyze(*place.complete())


def again(place: Workplace) -> None:
    """Let the study be received again, in a new generation."""
    with place.database.transaction() as session:
        position = studies.position_of(session, 1)
        studies.transition(session, position, Move(Cause.LATE_INSTANCE, place.clock()))


def runs(place: Workplace) -> list[tuple[str, str]]:
    with place.database.reading() as session:
        return [(run.bundle_version, run.bundle_sha256) for run in session.scalars(select(Run).order_by(Run.id))]


def test_the_next_study_after_a_promotion_and_a_rollback_names_the_model_that_made_it(place: Workplace) -> None:
    models = Models(place)
    second = models.install("second")
    built_in = load_bundle()
    analyze(place, models)
    models.promote(second)
    again(place)
    analyze(place, models)
    with place.database.transaction() as session:
        model_choice.roll_back(session, chosen(session, ModelRole.SERVING), ACTOR)
    again(place)
    analyze(place, models)
    expected = [(built_in.version, built_in.sha256), ("second", second), (built_in.version, built_in.sha256)]
    assert runs(place) == expected
    assert models.built == [version for version, _ in expected]
    manifest = place.view().manifest
    assert manifest is not None
    assert manifest["bundle"] == {"name": built_in.name, "sha256": built_in.sha256}


def test_a_study_that_is_analyzed_again_by_another_model_gets_new_results_and_others_keep_theirs(
    place: Workplace,
) -> None:
    models = Models(place)
    analyze(place, models)
    first = {result.sop_instance_uid for result in place.view().results}
    models.promote(models.install("second"))
    Sweeps(place.database, place.settings, place.bell, place.clock).run()
    assert {result.sop_instance_uid for result in place.view().results} == first
    assert len(runs(place)) == 1
    again(place)
    analyze(place, models)
    second = {result.sop_instance_uid for result in place.view().results}
    assert len(second) == len(first) == 4
    assert not first & second
    models.promote(None)
    again(place)
    analyze(place, models)
    assert {result.sop_instance_uid for result in place.view().results} == first


def test_a_model_is_loaded_once_however_many_studies_come(place: Workplace) -> None:
    models = Models(place)
    for _ in range(3):
        analyze(place, models)
        again(place)
    assert models.built == [load_bundle().version]


def test_a_promotion_during_a_study_leaves_that_study_to_the_model_that_it_began_with(place: Workplace) -> None:
    models = Models(place)
    second = models.install("second")
    models.networks[load_bundle().version] = lambda _: ReadsTheBoxes(before=lambda: models.promote(second))
    analyze(place, models)
    assert place.state() is StudyState.SENDING
    again(place)
    analyze(place, models)
    assert runs(place) == [(load_bundle().version, load_bundle().sha256), ("second", second)]


def damaged(store: ModelStore, sha256: str) -> Path:
    weights = store.root / sha256 / "levels.npz"
    weights.write_bytes(b"torn")
    return weights


def test_a_promoted_model_that_cannot_be_loaded_keeps_studies_waiting_until_it_can(place: Workplace) -> None:
    models = Models(place)
    source = models.install("second")
    analyze(place, models)
    models.promote(source)
    store = ModelStore.of(place.settings)
    damaged(store, source)
    again(place)
    analyze(place, models)
    view = place.view()
    assert view.state is StudyState.QUEUED
    assert str(view.reason).startswith("MODEL_UNAVAILABLE: bundle file levels.npz was changed")
    assert "cspine model rollback" in str(view.next_step)
    with place.database.reading() as session:
        row = session.scalars(select(Study)).one()
    assert (row.crashes, row.not_before is not None) == (0, True)
    assert len(runs(place)) == 1
    store.install(place.settings.data_dir.parent / "bundle-second")
    place.advance(60)
    place.analyzer(models.loaded.serving).analyze(*place.position())
    assert runs(place)[-1] == ("second", source)


def test_whatever_keeps_a_model_from_being_loaded_says_nothing_of_the_study(place: Workplace) -> None:
    models = Models(place)

    def explode(_: object) -> ReadsTheBoxes:
        raise RuntimeError("CUDA_ERROR of a secret kind")

    models.networks[load_bundle().version] = explode
    for _ in range(place.settings.max_attempts + 1):
        if place.state() is StudyState.RECEIVING:
            analyze(place, models)
        else:
            place.advance(60)
            place.analyzer(models.loaded.serving).analyze(*place.position())
        assert place.state() is StudyState.QUEUED
    assert place.view().reason == "MODEL_UNAVAILABLE: the model cannot be loaded (RuntimeError)"


def test_the_path_of_the_settings_wins_over_what_was_promoted(place: Workplace) -> None:
    first = Models(place)
    first.promote(first.install("second"))
    folder = write_bundle(place.settings.data_dir.parent / "elsewhere", "elsewhere")
    place.settings = dataclasses.replace(place.settings, bundle_path=folder)
    analyze(place, Models(place))
    assert [version for version, _ in runs(place)] == ["elsewhere"]


def test_when_memory_runs_out_the_shadow_leaves_and_the_study_is_answered_at_once(place: Workplace) -> None:
    models = Models(place)
    shadow = models.install("second")
    models.look_on(shadow)

    def full() -> None:
        if not models.loaded.is_short_of_memory:
            raise PredictorOutOfMemory("no memory")

    network = ReadsTheBoxes(before=full)
    models.networks[load_bundle().version] = lambda _: network
    models.loaded.serving()
    models.loaded.shadow(shadow)
    analyze(place, models)
    assert place.state() is StudyState.SENDING
    assert network.calls == 2
    assert models.built == [load_bundle().version, "second"]
    place.advance(3600)
    assert not models.loaded.is_short_of_memory
    again(place)
    analyze(place, models)
    assert place.state() is StudyState.QUEUED
    assert str(place.view().reason).startswith("PREDICTOR_OUT_OF_MEMORY")


def test_a_shadow_that_was_ended_leaves_the_memory_with_the_next_study(place: Workplace) -> None:
    models = Models(place)
    shadow = models.install("second")
    models.look_on(shadow)
    models.loaded.shadow(shadow)
    models.look_on(None)
    models.loaded.serving()
    models.loaded.shadow(shadow)
    assert models.built == ["second", load_bundle().version, "second"]


@pytest.mark.parametrize("kind", ["absent", "another"])
def test_a_folder_that_holds_another_bundle_than_its_name_says_is_not_used(place: Workplace, kind: str) -> None:
    models = Models(place)
    sha256 = models.install("second")
    folder = ModelStore.of(place.settings).root / sha256
    folder.rename(folder.with_name("0" * 64))
    models.promote("0" * 64 if kind == "another" else sha256)
    analyze(place, models)
    assert place.state() is StudyState.QUEUED
    assert models.built == []
