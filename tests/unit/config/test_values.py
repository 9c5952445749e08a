from __future__ import annotations

from datetime import timedelta

import pytest

from pushmirror.config.types import parse_duration, parse_rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("36h", 129600),
        ("10min", 600),
        ("90s", 90),
        ("1d", 86400),
        ("1.5 h", 5400),
        (0, 0),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_a_duration_is_parsed(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "h", "10", "-1h", -1, 1.5, True, None, "1h30", "9" * 400 + "d", "11000d", "1٣h", timedelta.max],
)
def test_a_malformed_duration_is_refused(text):
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", [45, "10", "1.5"])
def test_a_number_without_a_unit_is_no_duration(text):
    with pytest.raises(ValueError, match='write a unit, such as "36h"'):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "kib"), [(0, 0), (500, 500), ("500K", 500), ("20M", 20480), ("1.5 GiB/s", 1572864)]
)
def test_a_rate_is_parsed_into_kib_per_second(text, kib):
    assert parse_rate(text) == kib


@pytest.mark.parametrize("text", ["", "fast", -1, True, 2.5, "0.1", "20T", "9" * 400, "2000G"])
def test_a_malformed_rate_is_refused(text):
    with pytest.raises(ValueError, match="expected a rate"):
        parse_rate(text)
