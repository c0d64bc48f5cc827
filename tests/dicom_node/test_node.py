"""AE titles, peers, and UIDs derived from names."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.header import is_uid
from dicom_node.node import IMPLEMENTATION_CLASS_UID, AETitle, Device, Peer, deterministic_uid

TITLES = st.text(string.ascii_letters + string.digits + " _-.@!", min_size=1, max_size=16).filter(str.strip)
HOSTS = st.sampled_from(["127.0.0.1", "pacs.example.org", "pacs", "::1", "fe80::1", "192.0.2.7"])


@given(TITLES)
def test_an_ae_title_is_kept_without_outer_spaces(title):
    assert AETitle(f"  {title} ") == title.strip(" ")


@pytest.mark.parametrize("title", ["", "    ", "A" * 17, "A\\B", "ÄRZTE", "A\nB", "A\x00", "TAB\t"])
def test_what_is_no_ae_title_is_refused(title):
    with pytest.raises(ValueError, match="AE title"):
        AETitle(title)


@given(TITLES.filter(lambda title: "@" not in title), HOSTS, st.integers(1, 65535))
def test_a_peer_reads_back_as_it_is_written(title, host, port):
    peer = Peer(AETitle(title), host, port)
    assert Peer.parse(str(peer)) == peer


@pytest.mark.parametrize(
    "text",
    [
        *["", "PACS", "PACS@host", "@host:104", "PACS@:104", "PACS@host:0", "PACS@host:65536", "PACS@host:1x4"],
        *["A\\B@host:104", "PACS@::1:104", "A@B@host:104", "PACS@ho st:104", "TOO-LONG-AE-TITLE@host:104"],
    ],
)
def test_what_is_no_peer_is_refused(text):
    with pytest.raises(ValueError, match=r"peer|port|AE title"):
        Peer.parse(text)


PARTS = st.lists(st.text(), min_size=1, max_size=5)


@given(PARTS, PARTS)
def test_uids_are_valid_repeatable_and_distinct_for_distinct_parts(parts, others):
    uid = deterministic_uid(*parts)
    assert is_uid(uid)
    assert uid.is_valid
    assert uid == deterministic_uid(*parts)
    assert (uid == deterministic_uid(*others)) == (parts == others)


def test_parts_that_hold_slashes_do_not_collide():
    assert (
        len({deterministic_uid(*parts) for parts in (["a/b", "c"], ["a", "b/c"], ["a", "b", "c"], ["a%2Fb", "c"])}) == 4
    )
    with pytest.raises(ValueError, match="part"):
        deterministic_uid()


def test_derived_uids_never_change_between_releases():
    assert deterministic_uid("implementation") == IMPLEMENTATION_CLASS_UID
    assert deterministic_uid("study", "seg") == "2.25.136749866077244215485226489764874633114"


def test_the_device_uid_follows_from_the_serial_number_alone():
    assert Device.create("1.0", "A").device_uid == Device.create("2.0", "A").device_uid
    assert Device.create("1.0", "A").device_uid != Device.create("1.0", "B").device_uid
