"""Mutated data sets: each ends accepted or refused with a status, never silently, and the next good one is stored."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1

from dicom_node.errors import InvalidInstance
from dicom_node.header import InstanceHeader, inspect, scan
from dicom_node.scp import StoreStatus
from tests.dicom_node.listening import listening
from tests.dicom_node.raw_scu import raw_association, store_command
from tests.dicom_node.tiny_ct import encode_data_set, make_ct

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1)
GOOD = {syntax: encode_data_set(make_ct(transfer_syntax=syntax, rows=8, columns=8), syntax) for syntax in SYNTAXES}
MESSAGE_IDS = itertools.count(1)


@st.composite
def mutated(draw):
    """A good data set with bytes changed, cut out, repeated or put in, and its transfer syntax."""
    syntax = draw(st.sampled_from(SYNTAXES))
    data = bytearray(GOOD[syntax])
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 24))
        match draw(st.sampled_from(["change", "cut", "repeat", "insert", "truncate", "length"])):
            case "change":
                data[start : start + size] = draw(st.binary(min_size=size, max_size=size))
            case "cut":
                del data[start : start + size]
            case "repeat":
                data[start:start] = data[start : start + size * 8]
            case "insert":
                data[start:start] = draw(st.binary(max_size=24))
            case "truncate":
                del data[start:]
            case "length":
                data[start : start + 4] = draw(st.sampled_from([b"\xff\xff\xff\xff", bytes(4), b"\xfe\xff\x00\xe0"]))
    return syntax, bytes(data)


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_inspect_gives_a_valid_header_or_refuses(mutation):
    syntax, data = mutation
    try:
        header = inspect(data, syntax)
    except InvalidInstance as error:
        assert 0 < len(str(error)) <= 64  # noqa: PT017 - either outcome is right
    else:
        assert isinstance(header, InstanceHeader)
        assert scan(data, syntax).sop_instance_uid == header.sop_instance_uid


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(SYNTAXES))
def test_random_bytes_are_no_instance(data, syntax):
    with pytest.raises(InvalidInstance):
        inspect(data, syntax)


@pytest.fixture(scope="module")
def fuzzed_node(tmp_path_factory):
    with listening(tmp_path_factory.mktemp("fuzz"), idle_seconds=300.0) as node:
        yield node


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutation=mutated())
def test_over_the_wire_each_is_accepted_or_refused_and_the_next_good_one_is_stored(fuzzed_node, mutation):
    syntax, data = mutation
    command = store_command(make_ct().SOPInstanceUID.encode(), CTImageStorage.encode())
    before = len(fuzzed_node.receipts.recorded)
    with raw_association(fuzzed_node.port, transfer_syntax=syntax) as association:
        response = association.store(command, data)
        assert response is not None
        accepted = response.status == StoreStatus.SUCCESS
        assert accepted or response.status in set(StoreStatus)
        assert len(fuzzed_node.receipts.recorded) == before + accepted
        assert fuzzed_node.incoming() == []
        assert association.store(command, GOOD[syntax]).status == StoreStatus.SUCCESS
        association.release()
