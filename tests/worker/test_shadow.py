"""A shadow model looks on: it sends nothing, changes nothing, gives way to studies, and its failures end with it."""

import dataclasses
import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import func, select

from model.errors import PredictorOutOfMemory
from model.findings import Vertebra, VertebraFinding
from tests.worker.bundles import ACTOR, Models
from tests.worker.scripted import BoxPrediction, ReadsTheBoxes, ScriptedPacs, Workplace
from worker import model_choice, operation, shadow_queue, studies, waiting
from worker.console_records import Mode
from worker.model_choice import chosen
from worker.records import Delivery, ModelRole, ResultObject, Run, ShadowRun, ShadowState, Study, StudyEvent
from worker.shadow_report import Share, shadow_report, write_report
from worker.states import Cause, StudyState
from worker.studies import Arrival, Move
from worker.sweeps import Sweeps

S = ShadowState


class ReadsOtherwise(ReadsTheBoxes):
    """Misses C7, suspects C3 in place of C5, and has a smaller C2."""

    def predict(self, hu: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> BoxPrediction:
        answer = super().predict(hu, spacing_mm)
        labels = np.where(answer.labels == Vertebra.C7, np.uint8(0), answer.labels)
        labels[:, :36][labels[:, :36] == Vertebra.C2] = 0
        found = tuple(
            VertebraFinding(f.vertebra, 0.8 if f.vertebra is Vertebra.C3 else 0.1, f.vertebra is Vertebra.C3, 1000.0)
            for f in answer.findings.vertebrae
            if f.vertebra is not Vertebra.C7
        )
        return dataclasses.replace(
            answer, labels=labels, findings=dataclasses.replace(answer.findings, vertebrae=found)
        )


@dataclasses.dataclass
class Watched:
    """A shadow beside the built-in model, and the one study analyzed."""

    place: Workplace
    models: Models
    sha256: str

    def __post_init__(self) -> None:
        self.sweeps = Sweeps(self.place.database, self.place.settings, self.place.bell, self._now)

    def _now(self) -> datetime:
        return self.place.clock()  # whichever clock the place has by then

    def rung(self) -> list[int]:
        """What the clerk rings for."""
        before = len(self.place.bell.comparisons)
        self.sweeps.run()
        return self.place.bell.comparisons[before:]

    def compare(self, run_id: int = 1) -> None:
        """What the worker does with the message."""
        self.models.shadow().compare(run_id)

    def rows(self) -> list[ShadowRun]:
        with self.place.database.reading() as session:
            return list(session.scalars(select(ShadowRun).order_by(ShadowRun.id)))

    def everything_else(self) -> dict[str, list[tuple[object, ...]]]:
        """All rows that a shadow must not touch."""
        with self.place.database.reading() as session:
            tables = (Study, StudyEvent, Run, ResultObject, Delivery)
            return {
                table.__tablename__: [tuple(row) for row in session.execute(select(table.__table__))]
                for table in tables
            }


def watched(place: Workplace, network: Callable[[Callable[[], None]], ReadsTheBoxes]) -> Watched:
    """A shadow with this network."""
    models = Models(place, {"second": network})
    sha256 = models.install("second")
    place.advance(0)
    models.look_on(sha256)
    place.analyzer(models.loaded.serving).analyze(*place.complete())
    return Watched(place, models, sha256)


def test_a_shadow_answers_after_the_result_was_handed_on_and_sends_nothing(place: Workplace) -> None:
    pacs = ScriptedPacs()
    place.settings = dataclasses.replace(place.settings, destination=pacs.peer)
    seen = watched(place, lambda _: ReadsTheBoxes())
    assert place.state() is StudyState.SENDING
    assert seen.models.built == ["3"]
    before, files = seen.everything_else(), sorted(place.settings.results_dir.rglob("*"))
    assert seen.rung() == [1]
    seen.compare()
    (row,) = seen.rows()
    assert (row.state, row.bundle_sha256, row.failure, row.picture) == (S.COMPARED, seen.sha256, None, None)
    assert row.findings == place.view().findings
    assert row.serving_seconds is not None
    assert row.shadow_seconds is not None
    after = seen.everything_else()
    for table in ("study_events", "runs", "result_objects", "deliveries"):
        assert after[table] == before[table]
    assert place.state() is StudyState.SENDING
    assert sorted(place.settings.results_dir.rglob("*")) == files
    assert list(place.settings.scratch_dir.iterdir()) == []
    assert place.deliver() is StudyState.DELIVERED
    assert len(pacs.received) == 4
    pacs.stop()
    assert seen.rung() == []
    seen.compare()
    assert len(seen.rows()) == 1


def wait_in_line(place: Workplace) -> int:
    """Another study waits for its analysis."""
    with place.database.transaction() as session:
        study_id = studies.create(session, Arrival("1.2.3", "PACS", "10.0.0.1", place.clock()))
        assert study_id is not None
        position = studies.position_of(session, study_id)
        studies.transition(session, position, Move(Cause.COMPLETED, place.clock(), completed_by="quiet"))
    return study_id


def test_a_shadow_begins_nothing_while_the_workers_drain_and_is_not_kept_by_a_study_on_hold(place: Workplace) -> None:
    seen = watched(place, lambda _: ReadsTheBoxes())
    study_id = wait_in_line(place)
    with place.database.transaction() as session:
        waiting.hold(session, study_id, place.clock(), "operator")
        operation.change_mode(session, Mode.DRAINING, place.clock(), "operator")
    assert seen.rung() == []
    seen.compare()
    assert seen.rows() == []
    with place.database.transaction() as session:
        operation.change_mode(session, Mode.RUNNING, place.clock(), "operator")
    assert seen.rung() == [1]
    seen.compare()
    assert seen.rows()[0].state is S.COMPARED


def somebody_waits(place: Workplace) -> bool:
    with place.database.reading() as session:
        return shadow_queue.must_wait(session, place.clock())


def more_runs(place: Workplace, *generations: int) -> None:
    """Further runs like the one that there is."""
    columns = [column.name for column in Run.__table__.columns if column.name not in {"id", "generation"}]
    with place.database.transaction() as session:
        first = session.scalars(select(Run)).one()
        for generation in generations:
            session.add(Run(generation=generation, **{name: getattr(first, name) for name in columns}))


def analyzed_elsewhere(place: Workplace, study_id: int) -> None:
    with place.database.transaction() as session:
        position = studies.position_of(session, study_id)
        lease = studies.claim(session, position, place.clock(), 60)
        studies.transition(session, lease.position, Move(Cause.INELIGIBLE, place.clock()))


def test_a_shadow_waits_while_a_study_waits(place: Workplace) -> None:
    seen = watched(place, lambda _: ReadsTheBoxes())
    study_id = wait_in_line(place)
    assert seen.rung() == []
    seen.compare()
    assert seen.rows() == []
    analyzed_elsewhere(place, study_id)
    assert seen.rung() == [1]
    assert seen.rung() == []
    place.advance(place.settings.ring_again_seconds)
    assert seen.rung() == [1]


def test_a_shadow_gives_way_in_the_middle_and_begins_again_when_nobody_waits(place: Workplace) -> None:
    arrived: list[int] = []

    def slices(before_batch: Callable[[], None]) -> ReadsTheBoxes:
        def batches() -> None:
            before_batch()
            if not arrived:
                arrived.append(wait_in_line(place))
            while somebody_waits(place):
                before_batch()

        return ReadsTheBoxes(before=batches)

    seen = watched(place, slices)
    seen.compare()
    (row,) = seen.rows()
    assert (row.state, row.tries, row.findings) == (S.WAITING, 1, None)
    assert list(place.settings.scratch_dir.iterdir()) == []
    analyzed_elsewhere(place, arrived[0])
    assert seen.rung() == [1]
    seen.compare()
    (row,) = seen.rows()
    assert (row.state, row.tries) == (S.COMPARED, 2)


def test_a_shadow_that_always_has_to_give_way_leaves_the_run_out(place: Workplace) -> None:
    seen = watched(place, lambda _: ReadsTheBoxes())
    for attempt in range(1, shadow_queue.MAX_TRIES + 1):
        with place.database.transaction() as session:
            mine = shadow_queue.claim(session, 1, seen.sha256, place.clock())
            assert mine is not None
            assert mine.attempt == attempt
            assert shadow_queue.claim(session, 1, seen.sha256, place.clock()) is None
            shadow_queue.give_way(session, mine)
    assert seen.rows()[0].state is S.FAILED
    assert "gave way" in str(seen.rows()[0].failure)
    assert seen.rung() == []


def crash() -> None:
    raise RuntimeError("secret of a data set")


def full() -> None:
    raise PredictorOutOfMemory("no memory")


@pytest.mark.parametrize(("before", "words"), [(crash, "crashed with RuntimeError"), (full, "memory did not suffice")])
def test_a_crash_of_the_shadow_is_recorded_and_ends_there(
    place: Workplace, before: Callable[[], None], words: str
) -> None:
    seen = watched(place, lambda _: ReadsTheBoxes(before=before))
    state = seen.everything_else()
    seen.compare()
    (row,) = seen.rows()
    assert row.state is S.FAILED
    assert words in str(row.failure)
    assert "secret" not in str(row.failure)
    assert seen.everything_else() == state
    assert seen.rung() == []
    assert seen.models.loaded.is_short_of_memory == (before is full)


def test_a_shadow_whose_files_are_damaged_or_that_meets_missing_images_says_so(place: Workplace) -> None:
    seen = watched(place, lambda _: ReadsTheBoxes())
    (place.settings.models_dir / seen.sha256 / "levels.npz").write_bytes(b"torn")
    seen.compare()
    assert "levels.npz was changed" in str(seen.rows()[0].failure)
    other = seen.models.install("third")
    seen.models.look_on(None)
    seen.models.look_on(other)
    for path in list(place.settings.spool_dir.rglob("*.dcm")):
        path.unlink()
    seen.compare()
    assert seen.rows()[1].state is S.FAILED
    assert place.state() is StudyState.SENDING


def test_a_run_of_another_serving_model_than_the_present_one_is_not_compared(place: Workplace) -> None:
    seen = watched(place, lambda _: ReadsTheBoxes())
    seen.models.promote(seen.models.install("third"))
    assert seen.rung() == [1]
    seen.compare()
    assert "serving model was changed" in str(seen.rows()[0].failure)


def test_what_was_analyzed_before_the_shadow_came_is_not_looked_at(place: Workplace) -> None:
    models = Models(place)
    sha256 = models.install("second")
    place.analyzer(models.loaded.serving).analyze(*place.complete())
    place.advance(3600)
    with place.database.transaction() as session:
        actor = dataclasses.replace(ACTOR, at=place.clock())
        model_choice.start_shadow(session, chosen(session, ModelRole.SHADOW), sha256, actor)
    assert Watched(place, models, sha256).rung() == []


def test_a_shadow_that_ends_its_worker_three_times_is_ended_itself(place: Workplace) -> None:
    seen = watched(place, lambda _: ReadsTheBoxes())
    with place.database.transaction() as session:
        first = session.scalars(select(Run)).one()
        for generation in (11, 12):
            values = {
                c.name: getattr(first, c.name) for c in Run.__table__.columns if c.name not in {"id", "generation"}
            }
            session.add(Run(generation=generation, **values))
    for run_id in (1, 2, 3):
        with place.database.transaction() as session:
            assert chosen(session, ModelRole.SHADOW).sha256 == seen.sha256
            assert shadow_queue.claim(session, run_id, seen.sha256, place.clock()) is not None
        seen.rung()
        assert seen.rows()[-1].state is S.RUNNING
        place.advance(shadow_queue.LIFE_SECONDS)
        seen.rung()
        assert seen.rows()[-1].failure == shadow_queue.DIED
    with place.database.reading() as session:
        assert chosen(session, ModelRole.SHADOW).sha256 is None
        last = model_choice.history(session)[-1]
    assert (last.kind, last.by) == ("SHADOW_ENDED", "cspine")
    assert shadow_queue.DIED in last.reason


# The report


def test_the_report_counts_what_differs_and_shows_it(place: Workplace, tmp_path: Path) -> None:
    seen = watched(place, lambda _: ReadsOtherwise())
    seen.compare()
    (row,) = seen.rows()
    assert row.failure is None
    with place.database.reading() as session:
        found = shadow_report(session, seen.sha256)
    assert (found.studies, found.same_levels.count, found.same_levels.total) == (1, 0, 1)
    assert found.study_calls.as_json()["both"] == 1
    calls = found.level_calls
    assert (calls.both, calls.serving_only, calls.shadow_only, calls.neither) == (0, 1, 1, 4)
    assert (found.dice["C1"], found.dice["C7"]) == (1.0, 0.0)
    assert 0.5 < found.dice["C2"] < 0.7
    assert found.probability_differences == {"p50": 0.0, "p95": 0.775}
    assert found.serving_seconds.keys() == found.shadow_seconds.keys() == {"p50", "p95"}
    (one,) = found.disagreements
    assert one.levels == ("C5", "C3", "C7", "C2")
    assert one.serving == "C5 90 % suspected, C3 10 %, C7 10 %, C2 10 %"
    assert one.shadow == "C5 10 %, C3 80 % suspected, C7 not found, C2 10 %"
    uid = place.view().line.study_instance_uid
    assert write_report(found, tmp_path / "report", place.settings.shadow_dir) == 1
    picture = tmp_path / "report" / "disagreement-000001.png"
    with Image.open(picture) as image:
        assert image.size == (960, 508)
        assert image.info == {}
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 20) or []}
    assert any(blue > 200 and red < 140 for red, _, blue in colors)
    assert any(red > 200 and blue < 100 for red, _, blue in colors)
    written = json.loads((tmp_path / "report" / "report.json").read_text())
    assert written["disagreements"][0]["picture"] == picture.name
    texts = [path.read_text() for path in (tmp_path / "report").iterdir() if path.suffix != ".png"]
    assert not any(uid in text for text in texts)
    assert all("Not a medical device" in text for text in texts)
    assert f'src="{picture.name}"' in "".join(texts)
    write_report(found, tmp_path / "named", place.settings.shadow_dir, with_uids=True)
    assert uid in (tmp_path / "named" / "report.html").read_text()


def test_a_report_of_nothing_says_so(place: Workplace, tmp_path: Path) -> None:
    with place.database.reading() as session:
        found = shadow_report(session, "0" * 64)
    assert write_report(found, tmp_path / "report", place.settings.shadow_dir) == 0
    assert re.search(r"same levels +0 of 0", "\n".join(found.as_lines()))


def test_intervals_are_wilsons() -> None:
    assert Share(8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Newcombe 1998
    assert Share(0, 10).interval == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert Share(0, 0).interval == (0.0, 1.0)


def test_only_the_newest_comparisons_are_kept_with_their_pictures(place: Workplace) -> None:
    seen = watched(place, lambda _: ReadsOtherwise())
    place.settings = dataclasses.replace(place.settings, shadow_keep=10)
    seen.models.place = place
    seen.compare()
    pictures = place.settings.shadow_dir
    assert [path.name for path in pictures.iterdir()] == ["1.png"]
    with place.database.transaction() as session:
        first = session.scalars(select(Run)).one()
        for generation in range(11, 22):
            values = {
                c.name: getattr(first, c.name) for c in Run.__table__.columns if c.name not in {"id", "generation"}
            }
            session.add(Run(generation=generation, **values))
    for run_id in range(2, 13):
        seen.compare(run_id)
    with place.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(ShadowRun)) == 10
    assert sorted(int(path.stem) for path in pictures.iterdir()) == list(range(3, 13))
    assert seen.rung() == []
