from datetime import UTC, datetime

import pytest

from pushmirror.archive.release import read_date

EXPECTED = datetime(2026, 7, 11, 10, 16, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *(
            f"Sat, 11 Jul 2026 10:16:37 {zone}"
            for zone in ("UTC", "GMT", "Z", "+0000", "-0000", "+00:00", "")
        ),
        "11 Jul 2026 12:46:37 +0230",
        "Saturday, 11 July 2026 05:16:37 -0500",
        "Sat Jul 11 10:16:37 UTC 2026",
        "Sat Jul 11 10:16:37 2026",
        "Sat, Jul 11 2026 10:16:37 +0000",
        "2026-07-11T10:16:37Z",
        "2026-07-11 10:16:37 UTC",
        "2026-07-11 12:16:37+02:00",
        "2026-07-11 10:16:37",
    ],
)
def test_a_date_is_read_as_people_write_it(text: str) -> None:
    assert read_date(text) == EXPECTED


def test_a_time_may_have_no_seconds() -> None:
    assert read_date("Sat,  1 Jul 2026 9:16 UTC") == datetime(2026, 7, 1, 9, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026", "Sat, 11 Foo 2026 10:16:37 UTC", "Sat, 31 Feb 2026 10:16:37 UTC"),
        *("Sat, 11 Jul 2026 10:16:37 +9999", "Sat, 11 Jul 2026 10:16:37 CEST", "Sat, 11 Jul 2026 UTC"),
        *(
            "11 11 Jul 2026 10:16:37 UTC",
            "Sat, 11 Jul 0000 10:16:37 UTC",
            "2026-02-31",
            "1 Jan 0001 00:00 +0100",
        ),
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert read_date(text) is None
