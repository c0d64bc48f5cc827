"""What the console asks of the records, on SQLite and PostgreSQL: search, pages, one study in full, figures."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from dicom_node.study_attributes import StudyAttributes
from tests.worker.conftest import FakeClock
from tests.worker.scripted import ScriptedPacs, Workplace, analyzed, copy_records, workplace
from worker import studies
from worker.database import Database
from worker.failures import Failure, FailureCode
from worker.installation_key import InstallationKey
from worker.records import LevelFinding, Run, Study
from worker.settings import Settings
from worker.states import Cause, StudyState
from worker.studies import Arrival, Move
from worker.study_details import details_of
from worker.study_identity import newest_file, read_identity
from worker.study_numbers import StudyNumbers, number_digest
from worker.study_search import Place, StudyFilter, failed_studies, id_of, row_of, search, senders
from worker.throughput import percentile, throughput

KEY = InstallationKey(b"k" * 32)


def receive(database: Database, uid: str, at: datetime, sender: str = "CT1") -> int:
    with database.transaction() as session:
        study_id = studies.create(session, Arrival(uid, sender, "10.0.0.1", at))
    assert study_id is not None
    return study_id


def move(database: Database, study_id: int, cause: Cause, at: datetime, failure: Failure | None = None) -> None:
    with database.transaction() as session:
        studies.transition(session, studies.position_of(session, study_id), Move(cause, at, failure=failure))


def take_up(database: Database, study_id: int, at: datetime) -> None:
    with database.transaction() as session:
        studies.claim(session, studies.position_of(session, study_id), at, 3600)


def analyze(database: Database, study_id: int, at: datetime, **levels: float) -> None:
    """Through the analysis, with these probabilities: a half and more is suspected."""
    move(database, study_id, Cause.COMPLETED, at)
    take_up(database, study_id, at + timedelta(seconds=5))
    at += timedelta(seconds=25)
    found = [LevelFinding(vertebra=name, probability=p, fractured=p >= 0.5) for name, p in levels.items()]
    run = Run(
        study_id=study_id,
        generation=1,
        created_at=at,
        bundle_name="b",
        bundle_version="1",
        bundle_sha256="0",
        findings={"levels": []},
        manifest={"seconds": {"read": 4.0, "predict": 12.0, "predict.net": 11.0}},
        seconds=16.0,
        probability=max(levels.values()),
        levels=found,
    )
    with database.transaction() as session:
        session.add(run)
    move(database, study_id, Cause.ANALYZED, at)


@pytest.fixture
def three(database: Database, clock: FakeClock) -> Database:
    """Three studies, a minute apart: analyzed and suspected at C2 and C5, failed, receiving."""
    first = receive(database, "1.1", clock(), "CT1")
    analyze(database, first, clock(), C1=0.1, C2=0.5, C5=0.9)
    failed = receive(database, "1.2", clock.advance(60), "CT2")
    move(database, failed, Cause.COMPLETED, clock())
    take_up(database, failed, clock())
    move(database, failed, Cause.ANALYSIS_FAILED, clock(), Failure(FailureCode.POISON, "three times"))
    receive(database, "1.3", clock.advance(60), "CT1")
    return database


def found(database: Database, wanted: StudyFilter) -> list[str]:
    with database.reading() as session:
        return [row.study_instance_uid for row in search(session, wanted, 50).rows]


def test_every_criterion_finds_what_it_says(three: Database, clock: FakeClock):
    with three.transaction() as session:
        session.execute(update(Study).where(Study.study_instance_uid == "1.3").values(held_at=clock()))
        session.execute(update(Study).where(Study.study_instance_uid == "1.2").values(number_digest="abc"))
    minute = timedelta(minutes=1)
    assert found(three, StudyFilter()) == ["1.3", "1.2", "1.1"]
    assert found(three, StudyFilter(states=(StudyState.FAILED, StudyState.SENDING))) == ["1.2", "1.1"]
    assert found(three, StudyFilter(calling_ae_title="CT1")) == ["1.3", "1.1"]
    assert found(three, StudyFilter(received_from=clock() - minute)) == ["1.3", "1.2"]
    assert found(three, StudyFilter(received_before=clock() - minute)) == ["1.1"]
    assert found(three, StudyFilter(held=True)) == ["1.3"]
    assert found(three, StudyFilter(number_digest="abc")) == ["1.2"]
    assert found(three, StudyFilter(vertebra="C2")) == ["1.1"]
    assert found(three, StudyFilter(vertebra="C1")) == []
    assert found(three, StudyFilter(vertebra="C1", probability_from=0.05, probability_to=0.2)) == ["1.1"]
    assert found(three, StudyFilter(vertebra="C5", probability_to=0.8)) == []
    assert found(three, StudyFilter(probability_from=0.9)) == ["1.1"]
    assert found(three, StudyFilter(probability_from=0.91)) == []


def test_a_row_says_what_was_found_and_what_went_wrong(three: Database):
    with three.reading() as session:
        rows = {row.study_instance_uid: row for row in search(session, StudyFilter(), 50).rows}
        assert rows["1.1"].suspected == ("C2", "C5")
        assert rows["1.1"].probability == 0.9
        assert rows["1.2"].failure_code == "POISON"
        assert row_of(session, rows["1.2"].study_id) == rows["1.2"]
        assert row_of(session, 12345) is None
        assert id_of(session, "1.2") == rows["1.2"].study_id
        assert list(senders(session)) == ["CT1", "CT2"]
        assert list(failed_studies(session, 10)) == [rows["1.2"].study_id]
        assert list(failed_studies(session, 10, after_id=rows["1.2"].study_id)) == []


def test_pages_lead_through_all_studies_and_back(database: Database, clock: FakeClock):
    for number in range(7):  # two and two at the same time
        receive(database, f"1.{number}", clock.now + timedelta(seconds=number // 2))
    order = [f"1.{number}" for number in reversed(range(7))]
    with database.reading() as session:
        pages = [search(session, StudyFilter(), 3)]
        while (older := pages[-1].older) is not None:
            pages.append(search(session, StudyFilter(), 3, before=Place.parse(str(older))))
        back = search(session, StudyFilter(), 3, after=pages[1].newer)
    assert [[row.study_instance_uid for row in page.rows] for page in pages] == [order[:3], order[3:6], order[6:]]
    assert [page.newer is None for page in pages] == [True, False, False]
    assert [row.study_instance_uid for row in back.rows] == order[:3]
    assert (back.newer, back.older is None) == (None, False)


@pytest.mark.parametrize("text", ["", "1", "-", "a-b", "1-²", "9" * 40 + "-1", "-5-3"])
def test_a_place_that_is_none_is_refused(text: str):
    with pytest.raises(ValueError, match="place"):
        Place.parse(text)


def test_the_figures_tell_what_waits_and_how_long_things_took(database: Database, clock: FakeClock):
    began = clock()
    for number in range(4):
        study_id = receive(database, f"1.{number}", clock.advance(1))
        analyze(database, study_id, clock.advance(30), C1=0.2)
        move(database, study_id, Cause.DELIVERED, clock() + timedelta(seconds=35 + number))
    waiting = receive(database, "2.1", began)
    move(database, waiting, Cause.COMPLETED, began)
    working = receive(database, "2.2", clock())
    move(database, working, Cause.COMPLETED, clock())
    take_up(database, working, clock())
    with database.reading() as session:
        shown = throughput(session, clock.advance(60))
    assert {queue.state: (queue.studies, queue.oldest_seconds) for queue in shown.queues} == {
        StudyState.RECEIVING: (0, None),
        StudyState.QUEUED: (1, (clock() - began).total_seconds()),
        StudyState.ANALYZING: (1, 60.0),
        StudyState.SENDING: (0, None),
    }
    assert shown.counts[StudyState.DELIVERED] == 4
    assert (shown.analyzed_last_hour, shown.delivered_last_hour, shown.delivered_last_day) == (4, 4, 4)
    durations = {view.name: (view.studies, view.p50, view.p95) for view in shown.durations}
    assert durations == {
        "last instance to result": (4, 66.0, 68.0),
        "until complete": (4, 30.0, 30.0),
        "waiting for a worker": (4, 5.0, 5.0),
        "analysis": (4, 20.0, 20.0),
        "delivery": (4, 11.0, 13.0),
        "analysis: read": (4, 4.0, 4.0),
        "analysis: predict": (4, 12.0, 12.0),
    }
    assert [work.study_id for work in shown.at_work] == [working]
    with database.reading() as session:
        later = throughput(session, clock.advance(2 * 86400))
    assert (later.delivered_last_day, later.durations) == (0, ())


def test_a_percentile_is_one_of_the_values():
    assert [percentile([3.0, 1.0, 2.0, 4.0], share) for share in (0.0, 0.5, 0.75, 0.95)] == [1.0, 2.0, 3.0, 4.0]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def delivered(request: pytest.FixtureRequest, tmp_path, analyzed_template):
    """The installation of one study, analyzed and delivered for real."""
    pacs = ScriptedPacs()
    with analyzed(analyzed_template, tmp_path / "data", pacs.peer) as source:
        assert source.deliver() is StudyState.DELIVERED
        if request.param == "sqlite":
            yield source
        else:
            url = request.getfixturevalue("empty_postgresql")
            with workplace(tmp_path / "data", pacs.peer, database_url=url) as place:
                copy_records(source.database, place.database)
                yield place
    pacs.stop()


def test_a_study_in_full_says_what_was_found_and_who_has_it(delivered: Workplace):
    with delivered.database.reading() as session:
        details = details_of(session, 1)
        assert details_of(session, 2) is None
    assert details is not None
    assert (details.row.instances, details.completed_by, details.row.suspected) == (64, "quiet", ("C5",))
    assert [event.kind for event in details.events] == [
        "CREATED",
        "COMPLETED",
        "CLAIMED",
        "ANALYZED",
        "CLAIMED",
        "DESTINATION",
        "DELIVERED",
    ]
    assert [series.chosen for series in details.series] == [True]
    assert details.run is not None
    assert details.run.is_current
    assert details.run.picture is not None
    states = {delivery.state for item in details.run.objects for delivery in item.deliveries}
    assert states == {"ACCEPTED"}
    shown = details.as_json()
    assert shown["runs"][0]["findings"]["levels"][4]["vertebra"] == "C5"  # type: ignore[index]
    assert details.explanation is None


def test_a_study_is_found_by_its_number_though_that_is_nowhere_in_the_records(delivered: Workplace):
    numbers = StudyNumbers(delivered.database, delivered.settings, KEY, delivered.clock)
    identity = stored_identity(delivered)
    assert identity.accession_number != ""
    assert (numbers.run(), numbers.run()) == (1, 0)
    digest = number_digest(KEY, f" {identity.accession_number.lower()} ")
    assert found(delivered.database, StudyFilter(number_digest=digest)) == [delivered.view().line.study_instance_uid]
    assert found(delivered.database, StudyFilter(number_digest=number_digest(KEY, "another"))) == []
    assert number_digest(KEY, "  ") is None
    other = InstallationKey(b"o" * 32)
    assert number_digest(other, identity.accession_number) != digest


def test_a_number_is_read_again_when_other_instances_came(delivered: Workplace):
    numbers = StudyNumbers(delivered.database, delivered.settings, KEY, delivered.clock)
    numbers.run()
    move(delivered.database, 1, Cause.LATE_INSTANCE, delivered.clock())
    assert numbers.run() == 1


def test_a_study_whose_files_are_gone_has_no_number(delivered: Workplace):
    for path in delivered.settings.spool_dir.rglob("*.dcm"):
        path.unlink()
    assert StudyNumbers(delivered.database, delivered.settings, KEY, delivered.clock).run() == 1
    with delivered.database.reading() as session:
        path = newest_file(session, 1, delivered.settings.spool_dir)
        assert path is not None
        assert read_identity(path) is None
        assert newest_file(session, 99, delivered.settings.spool_dir) is None


def stored_identity(place: Workplace) -> StudyAttributes:
    with place.database.reading() as session:
        path = newest_file(session, 1, place.settings.spool_dir)
    assert path is not None
    identity = read_identity(path)
    assert identity is not None
    return identity


def test_the_key_of_an_installation_is_made_once_and_kept(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    key = InstallationKey.of(settings)
    assert InstallationKey.of(settings) == key
    assert ((tmp_path / "data" / "installation.key").stat().st_mode & 0o777) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["installation.key"]
    assert repr(key) == "InstallationKey()"
    assert key.derived("a") != key.derived("b")
