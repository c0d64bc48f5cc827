"""A destination that is away costs a clerk one try in a while, whatever the number of studies."""

import socket
from collections.abc import Iterator

import pytest

from dicom_node.errors import PeerError
from dicom_node.node import AETitle, Peer
from tests.worker.conftest import FakeClock
from tests.worker.scripted import ScriptedPacs
from worker.destinations import Destination
from worker.failures import Backoff
from worker.links import Link, LinkMaker
from worker.silence import MAX_SILENCE_SECONDS, Silences, SparingLinks


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of loopback that is taken, and refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


class Counting:
    """Real links, counted."""

    made = 0

    def __call__(self, destination: Destination) -> Link:
        self.made += 1
        return LinkMaker("CSPINE")(destination)


def sparing(clock: FakeClock) -> tuple[SparingLinks, Counting]:
    counting = Counting()
    return SparingLinks(counting, Silences(clock, Backoff(30, 900, 86400))), counting


def verify(links: SparingLinks, destination: Destination) -> bool:
    """Whether it answers; if not, that is for the time being."""
    try:
        links(destination).verify()
    except PeerError as error:
        return error.permanent
    return True


def test_a_silent_destination_is_tried_after_pauses_that_grow_up_to_a_bound(closed_port: int, clock: FakeClock):
    links, counting = sparing(clock)
    away = Destination("away", peer=Peer(AETitle("AWAY"), "127.0.0.1", closed_port))
    tried_at = []
    start = clock()
    for _ in range(1500):
        before = counting.made
        assert not verify(links, away)
        if counting.made > before:
            tried_at.append((clock() - start).total_seconds())
        clock.advance(1)
    assert tried_at == [0, 30, 90, 210, 450, 750, 1050, 1350]
    assert tried_at[-1] - tried_at[-2] == MAX_SILENCE_SECONDS


def test_another_destination_is_not_concerned_and_an_answer_ends_the_silence(closed_port: int, clock: FakeClock):
    links, _ = sparing(clock)
    pacs = ScriptedPacs()
    there = Destination("pacs", peer=pacs.peer)
    away = Destination("away", peer=Peer(AETitle("AWAY"), "127.0.0.1", closed_port))
    assert not verify(links, away)
    assert verify(links, there)
    back = Destination("away", peer=pacs.peer)
    assert not verify(links, back)
    clock.advance(30)
    assert verify(links, back)
    assert not verify(links, away)
    clock.advance(30)
    assert verify(links, back)  # the pauses began anew
    pacs.stop()


def test_a_refusal_is_an_answer(clock: FakeClock):
    links, counting = sparing(clock)
    pacs = ScriptedPacs()
    stranger = Destination("pacs", peer=pacs.peer)
    for _ in range(3):
        with pytest.raises(PeerError) as caught:
            links(stranger).study_attributes("1.2")
        assert caught.value.code == "NO_PRESENTATION_CONTEXT"
    assert counting.made == 3
    pacs.stop()
