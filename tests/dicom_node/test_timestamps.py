"""Dates and times of PS3.5 6.2."""

import pytest

from dicom_node.timestamps import is_date, is_time


@pytest.mark.parametrize("text", ["20260102", "20240229", "19000101"])
def test_existing_days_are_dates(text):
    assert is_date(text)


@pytest.mark.parametrize(
    "text", ["", "20001532", "20230229", "2026-1-2", "202601", "２０２６０１０２", "20260102 ", "2026010a"]
)
def test_anything_else_is_no_date(text):
    assert not is_date(text)


@pytest.mark.parametrize("text", ["03", "0304", "030405", "235959.999999", "010100.000000"])
def test_times_may_leave_out_what_is_small(text):
    assert is_time(text)


@pytest.mark.parametrize("text", ["", "24", "0360", "03:04", "030405.", "030405.1234567", "３０"])
def test_anything_else_is_no_time(text):
    assert not is_time(text)
