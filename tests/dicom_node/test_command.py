"""Command sets: ours, pynetdicom's, and broken ones."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode

from dicom_node.command import Command, MalformedCommandError, StoreResponse, encode_response, parse_command
from tests.dicom_node.raw_scu import element, store_command


def test_a_store_request_is_read():
    assert parse_command(store_command(b"1.2.3\0")) == Command(
        field=1, message_id=1, has_data_set=True, sop_class_uid=CTImageStorage, sop_instance_uid="1.2.3"
    )


@given(st.integers(0, 65535), st.from_regex(r"[0-2](\.[1-9][0-9]{0,8}){1,5}", fullmatch=True))
def test_requests_of_pynetdicom_are_read(message_id, uid):
    primitive = C_STORE()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID = CTImageStorage
    primitive.AffectedSOPInstanceUID = uid
    primitive.Priority = 2
    primitive.MoveOriginatorApplicationEntityTitle = "MOVER"
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    message.command_set.CommandDataSetType = 0x0001
    command = parse_command(encode(message.command_set, is_implicit_vr=True, is_little_endian=True))
    assert command == Command(1, message_id, has_data_set=True, sop_class_uid=CTImageStorage, sop_instance_uid=uid)


@given(st.integers(0, 65535), st.sampled_from(["", "x", "No space left"]), st.sampled_from(["1.2", "1.23", "1" * 64]))
def test_a_response_reads_as_pydicom_reads_it(message_id, comment, uid):
    encoded = encode_response(StoreResponse(message_id, CTImageStorage, uid, 0xA700, comment))
    command = decode(BytesIO(encoded), is_implicit_vr=True, is_little_endian=True)
    assert command.CommandGroupLength == len(encoded) - 12
    assert (command.CommandField, command.MessageIDBeingRespondedTo) == (0x8001, message_id)
    assert (command.AffectedSOPClassUID, command.AffectedSOPInstanceUID) == (CTImageStorage, uid)
    assert (command.CommandDataSetType, command.Status) == (0x0101, 0xA700)
    assert command.get("ErrorComment", "") == comment


@pytest.mark.parametrize("uid", [b"", b"../x", b"1.2\\1.3", b"1" * 65, b"1.2\n", "1.ä".encode(), None])
def test_a_malformed_uid_is_none(uid):
    assert parse_command(store_command(uid)).sop_instance_uid is None


@given(st.binary(max_size=200))
def test_random_bytes_are_no_command(data):
    with pytest.raises(MalformedCommandError):
        parse_command(data)


@given(st.data())
def test_a_cut_command_is_malformed(data):
    command = store_command(b"1.2.3\0")
    with pytest.raises(MalformedCommandError):
        parse_command(command[: data.draw(st.integers(0, len(command) - 15))])


def test_a_repeated_element_and_another_group_are_malformed():
    with pytest.raises(MalformedCommandError, match="malformed"):
        parse_command(store_command(b"1.2") + element(0x0100, b"\x01\0"))
    with pytest.raises(MalformedCommandError, match="malformed"):
        parse_command(store_command(b"1.2") + b"\x08\0\x60\0\x02\0\0\0CT")
