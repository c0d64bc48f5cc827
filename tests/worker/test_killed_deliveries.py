"""A delivering process that dies between any two steps: nothing is doubled or lost, and the end is the same."""

import dataclasses
import multiprocessing
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from dicom_node.node import Peer
from dicom_node.scu import SendOutcome
from tests.dicom_node.commitment_scp import CommitmentScp, Way
from tests.worker.scripted import RecordsRings, ScriptedPacs, Workplace, workplace
from worker.commitments import reports_into
from worker.database import Database
from worker.delivery import StudyDelivery
from worker.destinations import CommitmentMode, Destination
from worker.devices import device_of
from worker.errors import StartupError
from worker.links import DimseLink
from worker.retraction import Retraction
from worker.states import StudyState
from worker.storage import ResultStore
from worker.sweeps import Sweeps

WAIT_SECONDS = 600
LEASE_SECONDS = 3600


class Killed(BaseException):
    """The process ends here: nothing after it runs, nothing catches it."""


@dataclass
class Reaper:
    """Counts the steps of a process and ends it at one of them; a dead process takes no step."""

    at: int | None = None
    steps: list[str] = field(default_factory=list)

    def step(self, name: str) -> None:
        self.steps.append(name)
        if self.at is not None and len(self.steps) >= self.at:
            raise Killed(name)


class MortalDatabase(Database):
    """A step is over when its transaction is committed; what comes before that is rolled back, as if it never was."""

    reaper: Reaper

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
        self.reaper.step("committed")


@dataclass(frozen=True)
class MortalLink:
    """A real link to the PACS whose process may die between two instances and after each service."""

    real: DimseLink
    pacs: ScriptedPacs
    reaper: Reaper

    def send(self, files: Sequence[Path]) -> tuple[SendOutcome, ...]:
        half = self.real.send(files[: len(files) // 2]) if len(files) > 1 else ()
        self.reaper.step("sent half")
        rest = self.real.send(files[len(files) // 2 :] if len(files) > 1 else files)
        self.reaper.step("sent")
        return (*half, *rest)

    def request_commitment(self, instances: Sequence[object], transaction_uid: str) -> None:
        self.real.request_commitment(instances, transaction_uid)  # type: ignore[arg-type]
        self.reaper.step("asked")

    def collect_reports(self) -> None:
        """The PACS keeps none back."""

    def instances_there(self, _study: str, uids: Sequence[str]) -> frozenset[str]:
        """What a query would say: this PACS takes none, Orthanc answers them in another module."""
        self.reaper.step("queried")
        return frozenset(self.pacs.held).intersection(uids)


@dataclass
class Life:
    """One study on its way to CONFIRMED and then to WITHDRAWN, by processes that start anew as often as it takes."""

    place: Workplace
    pacs: ScriptedPacs

    @property
    def destination(self) -> Destination:
        mode = CommitmentMode.STORAGE_COMMITMENT
        return Destination("pacs", peer=self.pacs.peer, commitment=mode, commitment_wait_seconds=WAIT_SECONDS)

    def run(self, reaper: Reaper) -> None:
        """What one process does until it dies: deliver, retract, deliver."""
        database = MortalDatabase(self.place.database.engine)
        database.reaper = reaper
        self._deliver(database, until=StudyState.CONFIRMED)
        with suppress(StartupError):  # an earlier process has done it
            store = ResultStore(self.place.settings.results_dir)
            retraction = Retraction(database, store, device_of(self.place.settings), datetime(2026, 3, 1, tzinfo=UTC))
            retraction.retract(self.place.view().line.study_instance_uid)
        self._deliver(database, until=StudyState.WITHDRAWN)

    def _deliver(self, database: MortalDatabase, until: StudyState) -> None:
        def link(destination: Destination) -> MortalLink:
            assert destination.peer is not None
            real = DimseLink(destination.peer, "CSPINE", reports=reports_into(database))
            return MortalLink(real, self.pacs, database.reaper)

        store = ResultStore(self.place.settings.results_dir)
        delivery = StudyDelivery(
            self.place.settings,
            [self.destination],
            link,  # type: ignore[arg-type]
            database,
            store,
            self.place.clock,
        )
        for _ in range(6):
            if self.place.state() in {until, StudyState.WITHDRAWN}:
                return
            Sweeps(self.place.database, self.place.settings, RecordsRings(), self.place.clock).run()
            delivery.deliver(*self.place.position())
            self.place.advance(WAIT_SECONDS)
        pytest.fail("\n".join(self.place.view().as_lines()))


@contextmanager
def life(template: Path, folder: Path) -> Iterator[Life]:
    """A study that waits to be sent, with a PACS that reports on the association that asked."""
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns("spool"))
    pacs = ScriptedPacs(commitment=CommitmentScp(Way.SAME_ASSOCIATION, delay_seconds=0.02))
    try:
        with workplace(folder) as place:
            place.settings = dataclasses.replace(place.settings, lease_seconds=LEASE_SECONDS)
            place.advance(0)
            yield Life(place, pacs)
    finally:
        pacs.stop()


@pytest.mark.slow
def test_a_delivery_that_is_killed_after_any_step_ends_as_if_it_had_not_been(
    tmp_path: Path, analyzed_template: Path
) -> None:
    with life(analyzed_template, tmp_path / "whole") as undisturbed:
        reaper = Reaper()
        undisturbed.run(reaper)
        results = {result.sop_instance_uid for result in undisturbed.place.view().results}
        assert set(undisturbed.pacs.held) == results
        assert len(undisturbed.pacs.received) == len(results) == 5
    assert {"sent half", "sent", "asked", "committed"} == set(reaper.steps)
    for number in range(1, len(reaper.steps) + 1):
        with life(analyzed_template, tmp_path / str(number)) as disturbed:
            with pytest.raises(Killed):
                disturbed.run(Reaper(at=number))
            disturbed.place.advance(LEASE_SECONDS)
            disturbed.run(Reaper())
            assert disturbed.place.state() is StudyState.WITHDRAWN, number
            assert set(disturbed.pacs.held) == results, number
            assert all(len(contents) == 1 for contents in disturbed.pacs.held.values()), number
            kinds = [event.kind for event in disturbed.place.view().events]
            assert [kinds.count(kind) for kind in ("RETRACTION", "WITHDRAWN")] == [1, 1], number
        shutil.rmtree(tmp_path / str(number))


def deliver_in_a_process(folder: Path, peer: str) -> None:
    """What a clerk's child does with a study that waits to be sent."""
    with workplace(folder, Peer.parse(peer)) as place:
        place.deliver()


def test_a_process_that_is_killed_while_it_sends_is_made_up_for_by_the_next_one(
    tmp_path: Path, analyzed_template: Path
) -> None:
    reached, go_on = threading.Event(), threading.Event()
    with life(analyzed_template, tmp_path / "data") as disturbed:
        pacs = disturbed.pacs

        def wait_in_the_third() -> None:
            if len(pacs.received) == 2:
                reached.set()
                go_on.wait(60)

        pacs.before_store = wait_in_the_third
        arguments = (tmp_path / "data", str(pacs.peer))
        process = multiprocessing.get_context("spawn").Process(target=deliver_in_a_process, args=arguments)
        process.start()
        assert reached.wait(120)
        process.kill()
        process.join()
        go_on.set()
        place = disturbed.place
        place.settings = dataclasses.replace(place.settings, destination=pacs.peer)
        assert place.state() is StudyState.SENDING
        place.advance(LEASE_SECONDS)
        Sweeps(place.database, place.settings, RecordsRings(), place.clock).run()
        assert place.deliver() is StudyState.DELIVERED
        assert set(pacs.held) == {result.sop_instance_uid for result in place.view().results}
        assert all(len(contents) == 1 for contents in pacs.held.values())
        assert len(pacs.received) in {6, 7}  # two or three arrived twice, with the same bytes
