from __future__ import annotations

import pytest

from pushmirror.config.problems import did_you_mean

SITES = ["site1.example.com", "site2.example.com", "other.example.org", "sita"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("site1", "; did you mean site1.example.com?"),
        ("SITE1.EXAMPLE", "; did you mean site1.example.com?"),
        ("site", "; did you mean site1.example.com or site2.example.com?"),
        ("site3.example.com", "; did you mean site2.example.com?"),
        ("nobody", ""),
        ("", ""),
    ],
)
def test_a_name_that_was_begun_or_mistyped_is_offered(word, said):
    assert did_you_mean(word, SITES) == said


def test_of_many_names_that_begin_so_none_is_offered():
    assert did_you_mean("s", [f"s{number}.example.com" for number in range(9)]) == ""
