"""/metrics tells what happened to real studies, survives restarts, names nobody, and says so when it knows nothing."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage
from sqlalchemy import delete, select

from dicom_node import codes
from model.findings import Vertebra
from tests.dicom_node import edits
from tests.worker.scripted import ScriptedPacs, Workplace, analyzed, copy_records, workplace
from tests.worker.watched import registry_of, tally, watched
from worker import figures, studies
from worker.database import Database, migrate
from worker.figures import MAX_CALLING_AE_TITLES, calling_ae_title
from worker.metrics import make_registry
from worker.records import Counter, Instance, ResultObject, Study, StudyEvent
from worker.reviewing import ReviewReader
from worker.storage import ResultStore
from worker.studies import Arrival
from worker.tally import Tally

CANARIES = ("elik", "Zo\u00eb", "CSPINE-PHANTOM", "19700101", "2.25.", "1.2.826")
"""Parts of the identity of the synthetic patients, and of UIDs."""

TALLIED = (
    *(figure.name for figure in (figures.TALLIED, figures.STUDIES_RECEIVED, figures.LAST_STUDY, figures.STUDY_MOVES)),
    *(figure.name for figure in (figures.STUDY_FAILURES, figures.ANALYSES)),
    *(figure.name for figure in (figures.SPOOL_INSTANCES, figures.SPOOL_BYTES)),
    *(part.name for histogram in figures.HISTOGRAMS for part in (histogram.buckets, histogram.sums)),
)
"""What the tally counts."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, analyzed_template: Path) -> Iterator[Workplace]:
    """An installation in which much has happened; tests of it only look, or add what no other one looks at."""
    with watched(analyzed_template, tmp_path_factory.mktemp("watched")) as made:
        yield made


def values(registry: CollectorRegistry) -> dict[str, float]:
    """Every sample as Prometheus reads it: name and labels, in the order of their names."""
    text = generate_latest(registry).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {named(sample.name, sample.labels): sample.value for sample in samples}


def named(name: str, labels: dict[str, str]) -> str:
    inside = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
    return f"{name}{{{inside}}}" if inside else name


def test_figures_are_those_of_what_happened(place: Workplace) -> None:
    found = values(registry_of(place))
    expected = {
        "cspine_database_up": 1,
        'cspine_studies{state="CONFIRMED"}': 1,
        'cspine_studies{state="SKIPPED"}': 1,
        'cspine_studies{state="QUEUED"}': 0,
        'cspine_studies_failed{code="POISON"}': 0,
        'cspine_studies_received_total{calling_ae_title="SENDER"}': 1,
        'cspine_studies_received_total{calling_ae_title="OTHER-CT"}': 1,
        'cspine_study_moves_total{cause="COMPLETED"}': 2,
        'cspine_study_moves_total{cause="CONFIRMED"}': 1,
        'cspine_study_moves_total{cause="POISONED"}': 0,
        'cspine_study_failures_total{code="INELIGIBLE",end="skipped"}': 1,
        'cspine_analyses_total{bundle="boxes",suspected="true",version="1"}': 1,
        'cspine_analyses_total{bundle="boxes",suspected="false",version="1"}': 0,
        'cspine_recent_positive_ratio{bundle="boxes",version="1"}': 1,
        'cspine_recent_analyses{bundle="boxes",version="1"}': 1,
        'cspine_deliveries_total{destination="pacs"}': 5,  # four, and one again
        'cspine_delivery_failures_total{code="0xA700",destination="pacs"}': 1,
        'cspine_delivery_failures_total{code="PEER_UNREACHABLE",destination="pacs"}': 1,
        'cspine_confirmations_total{destination="pacs"}': 4,
        'cspine_commitment_failures_total{destination="pacs",reason="0x0112"}': 1,
        "cspine_associations_accepted_total": 3,
        'cspine_associations_rejected_total{reason="called_ae_title"}': 1,
        'cspine_associations_rejected_total{reason="local_limit"}': 0,
        "cspine_instances_received_total": 1,
        "cspine_instances_ignored_total": 1,
        'cspine_instances_refused_total{status="out_of_resources"}': 1,
        'cspine_processes_alive{role="clerk"}': 1,
        'cspine_processes_alive{role="gpu"}': 1,
        'cspine_model_info{bundle="boxes",sha256="' + "0" * 64 + '",version="1"}': 1,
    }
    assert {name: found.get(name) for name in expected} == expected


def moment_of(place: Workplace, study_id: int, kind: str) -> datetime:
    """When the first event of this kind was in a timeline."""
    with place.database.reading() as session:
        query = select(StudyEvent.at).where(StudyEvent.study_id == study_id, StudyEvent.kind == kind)
        return session.scalars(query.order_by(StudyEvent.id)).first() or datetime.min.replace(tzinfo=UTC)


def test_durations_are_those_of_the_timeline(place: Workplace) -> None:
    found = values(registry_of(place))
    stages = {
        stage: found[f'cspine_study_stage_duration_seconds_count{{stage="{stage}"}}']
        for stage in ("receive", "wait", "analyze", "send", "confirm")
    }
    assert stages == {"receive": 2, "wait": 2, "analyze": 1, "send": 1, "confirm": 1}
    moments = {kind: moment_of(place, 1, kind) for kind in ("CREATED", "COMPLETED", "CLAIMED", "ANALYZED", "DELIVERED")}
    seconds = {
        "analyze": (moments["ANALYZED"] - moments["CLAIMED"]).total_seconds(),
        "send": (moments["DELIVERED"] - moments["ANALYZED"]).total_seconds(),
        "receive": (moments["COMPLETED"] - moments["CREATED"]).total_seconds()
        + (moment_of(place, 2, "COMPLETED") - moment_of(place, 2, "CREATED")).total_seconds(),
    }
    assert seconds["send"] >= 3  # three pauses of a second
    assert seconds["receive"] >= 3590  # the second study was completed an hour later
    for stage, expected in seconds.items():
        assert found[f'cspine_study_stage_duration_seconds_sum{{stage="{stage}"}}'] == pytest.approx(expected)
    bucket = 'cspine_study_stage_duration_seconds_bucket{{le="{}",stage="receive"}}'
    assert [found[bucket.format(bound)] for bound in ("60.0", "86400.0", "+Inf")] == [1, 2, 2]
    with place.database.reading() as session:
        last = session.scalar(select(Study.last_received_at).where(Study.id == 1))
    result = found["cspine_study_result_duration_seconds_sum"]
    assert result == pytest.approx((moments["DELIVERED"] - (last or datetime.now(UTC))).total_seconds())


def test_what_lies_in_the_spool_and_who_sent_last_is_told(place: Workplace) -> None:
    found = values(registry_of(place))
    with place.database.reading() as session:
        sizes = session.scalars(select(Instance.size_bytes)).all()
    assert found["cspine_spool_instances"] == len(sizes)
    assert found["cspine_spool_size_bytes"] == sum(sizes)
    created = moment_of(place, 2, "CREATED").timestamp()
    assert found['cspine_last_study_timestamp_seconds{calling_ae_title="OTHER-CT"}'] == pytest.approx(created)
    assert found["cspine_received_bytes_total"] == min(sizes)


def test_gpus_disk_and_memory_are_those_that_processes_tell(place: Workplace) -> None:
    found = values(registry_of(place))
    gpu = {name.partition("{")[0]: value for name, value in found.items() if 'gpu="' in name}
    assert gpu == {
        "cspine_gpu_memory_used_bytes": 20480 * 2**20,
        "cspine_gpu_memory_size_bytes": 81559 * 2**20,
        "cspine_gpu_busy_ratio": 0.42,
    }
    told = {name.partition("{")[0]: value for name, value in found.items() if 'host="' in name}
    assert 0 < told["cspine_disk_free_bytes"] < told["cspine_disk_size_bytes"]
    assert told["cspine_process_memory_bytes"] > 1e6


def test_a_process_that_is_silent_is_not_alive(place: Workplace) -> None:
    later = datetime.now(UTC) + timedelta(minutes=2)
    found = values(registry_of(place, lambda: later))
    assert found['cspine_processes_alive{role="gpu"}'] == 0
    assert found['cspine_processes_alive{role="listener"}'] == 0
    assert [name for name in found if name.startswith(("cspine_model_info", "cspine_gpu"))] == []


def test_nobody_is_named(place: Workplace) -> None:
    text = generate_latest(registry_of(place)).decode()
    stored = dcmread(next(iter(sorted(place.settings.spool_dir.glob("store/*/*/*.dcm")))))
    canaries = [*CANARIES, str(stored.PatientName), str(stored.PatientID), str(stored.StudyInstanceUID)]
    assert [canary for canary in canaries if canary in text] == []
    assert re.findall(r'"[0-9.]{20,}"', text) == ['"' + "0" * 64 + '"']


def test_reviews_are_told_by_verdict(tmp_path: Path, analyzed_template: Path) -> None:
    with analyzed(analyzed_template, tmp_path / "data") as place:
        with place.database.reading() as session:
            row = session.scalars(select(ResultObject).where(ResultObject.kind == "report")).one()
        ours = dcmread(ResultStore(place.settings.results_dir).verified(row.path, row.sha256))
        review = edits.edited(ours, verified=True)
        edits.change(edits.group_of(review, Vertebra.C5), codes.FRACTURE, codes.ABSENT)
        (tmp_path / "returned").mkdir()
        edits.written(review, tmp_path / "returned" / "review.dcm")
        place.receive(tmp_path / "returned")
        assert values(registry_of(place))['cspine_reviews{verdict="received"}'] == 1
        ReviewReader(place.database, place.settings, place.clock).run()
        found = values(registry_of(place))
    assert found['cspine_reviews{verdict="REJECTED"}'] == 1
    assert found['cspine_reviews{verdict="ACCEPTED"}'] == 0


def test_waiting_work_is_told_with_its_age(tmp_path: Path, boxes_folder: Path) -> None:
    with workplace(tmp_path / "data") as place:
        place.advance(0)
        place.receive(boxes_folder)
        place.complete()
        place.advance(900)
        found = values(registry_of(place))
        assert found['cspine_studies{state="QUEUED"}'] == 1
        assert found['cspine_oldest_study_age_seconds{state="QUEUED"}'] == pytest.approx(900, abs=30)
        assert found['cspine_oldest_study_age_seconds{state="SENDING"}'] == 0
        seen = []
        place.network.before = lambda: seen.append(values(registry_of(place)))
        place.analyzer().analyze(*place.position())
        assert seen[0]['cspine_studies_in_work{state="ANALYZING"}'] == 1
        found = values(registry_of(place))
    assert found['cspine_studies_in_work{state="ANALYZING"}'] == 0


def test_what_a_destination_is_still_to_get_and_never_gets_is_told(tmp_path: Path, analyzed_template: Path) -> None:
    pacs = ScriptedPacs({SegmentationStorage: 0xA900, Comprehensive3DSRStorage: 0xA700})
    try:
        with analyzed(analyzed_template, tmp_path / "data", pacs.peer) as place:
            place.deliver()
            found = values(registry_of(place))
            tally(place)
            failed = values(registry_of(place))
    finally:
        pacs.stop()
    name = f'destination="{pacs.peer}"'
    assert found[f"cspine_deliveries_waiting{{{name}}}"] == 1
    assert found[f'cspine_deliveries_given_up{{code="DELIVERY_REFUSED",{name}}}'] == 1
    assert found[f'cspine_delivery_failures_total{{code="0xA900",{name}}}'] == 1
    assert found[f"cspine_deliveries_total{{{name}}}"] == 2
    assert failed['cspine_study_failures_total{code="DELIVERY_REFUSED",end="postponed"}'] == 1


def test_figures_survive_a_restart_and_are_counted_once(tmp_path: Path, analyzed_template: Path) -> None:
    with analyzed(analyzed_template, tmp_path / "data") as place:
        tally(place)
        before = values(registry_of(place))
    with workplace(tmp_path / "data") as again:
        tally(again)
        after = values(registry_of(again))
    kept = [name for name in before if name.endswith("_total") or "_bucket" in name or "_sum" in name]
    assert len(kept) > 50
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


@pytest.mark.peer
def test_the_same_on_postgresql_once_its_rows_have_settled(place: Workplace, empty_postgresql: str) -> None:
    database = Database.open(empty_postgresql)
    migrate(database)
    copy_records(place.database, database)
    with database.transaction() as session:
        session.execute(delete(Counter).where(Counter.name.in_(TALLIED)))
    now = datetime.now(UTC)
    young = Tally(database, place.settings, lambda: moment_of(place, 1, "CREATED") + timedelta(seconds=30))
    assert young.run() == 0
    old = Tally(database, place.settings, lambda: now + timedelta(hours=2))
    assert old.run() > 0
    assert old.run() == 0
    found, expected = values(make_registry(database, place.settings, ["pacs"], lambda: now)), values(registry_of(place))
    database.close()
    changing = ("cspine_scrape", "cspine_process_memory")
    assert {name: value for name, value in found.items() if not name.startswith(changing)} == pytest.approx(
        {name: value for name, value in expected.items() if not name.startswith(changing)}
    )


def test_two_clerks_that_count_at_once_count_once(tmp_path: Path, analyzed_template: Path) -> None:
    with analyzed(analyzed_template, tmp_path / "data") as place:
        first, second = (Tally(place.database, place.settings, place.clock) for _ in range(2))
        batch = first._events
        with place.database.reading() as session:
            early = batch(session, place.clock())
        assert second.run() > 0
        before = values(registry_of(place))
        first._events = lambda _session, _until: early  # type: ignore[method-assign]
        assert first._count(first._events) == 0
        assert values(registry_of(place))['cspine_study_moves_total{cause="ANALYZED"}'] == 1
        assert before['cspine_study_moves_total{cause="ANALYZED"}'] == 1


def test_strangers_make_no_labels_without_end(tmp_path: Path) -> None:
    with workplace(tmp_path / "data") as place:
        with place.database.transaction() as session:
            for number in range(MAX_CALLING_AE_TITLES + 20):
                studies.create(session, Arrival(f"2.25.{number + 1}", f"AE{number}", "127.0.0.1", place.clock()))
        tally(place)
        found = values(registry_of(place))
    senders = {name: value for name, value in found.items() if name.startswith("cspine_studies_received_total")}
    assert len(senders) == MAX_CALLING_AE_TITLES + 1
    assert senders['cspine_studies_received_total{calling_ae_title="other"}'] == 20


def test_a_title_that_is_allowed_by_name_always_has_its_label() -> None:
    known = frozenset(f"AE{number}" for number in range(MAX_CALLING_AE_TITLES))
    assert calling_ae_title("PACS", frozenset({"PACS"}), known) == "PACS"
    assert calling_ae_title("PACS", frozenset(), known) == "other"
    assert calling_ae_title("AE7", frozenset(), known) == "AE7"


def test_hostile_words_in_a_label_stay_inside_of_it(tmp_path: Path) -> None:
    title = 'A"} 9\\'
    with workplace(tmp_path / "data") as place:
        with place.database.transaction() as session:
            studies.create(session, Arrival("2.25.1", title, "127.0.0.1", place.clock()))
        tally(place)
        text = generate_latest(registry_of(place)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert [sample.labels for sample in families["cspine_studies_received"].samples] == [{"calling_ae_title": title}]


def test_a_database_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    with workplace(tmp_path / "data") as place:
        registry = registry_of(place)
        assert values(registry)["cspine_database_up"] == 1
        place.database.close()
        (tmp_path / "data" / "cspine.sqlite3").write_bytes(b"no database" * 1000)
        found = values(registry)
    assert found["cspine_database_up"] == 0
    assert not any(name.startswith("cspine_studies") for name in found)


def test_names_follow_the_conventions_of_prometheus(place: Workplace) -> None:
    families = list(text_string_to_metric_families(generate_latest(registry_of(place)).decode()))
    units = ("_seconds", "_bytes", "_ratio", "_info")
    for family in families:
        assert re.fullmatch(r"cspine_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert family.type != "histogram" or family.name.endswith("_seconds")
    assert {family.name for family in families if family.name.endswith(units)} > {"cspine_received_bytes"}
    assert len({family.name for family in families}) == len(families)


def test_nothing_is_in_the_registry_of_the_library(place: Workplace) -> None:
    registry_of(place)
    assert not any(family.name.startswith("cspine") for family in REGISTRY.collect())
