"""What upstream refuses: read off what it says, and remembered for a while."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pushmirror.errors import OptionRefused, UpstreamError
from pushmirror.fetch.refusals import Refusals, refused_option

HUB = "rsync://hub.example.org/debian"


@pytest.mark.parametrize(
    ("errors", "option"),
    [
        ("rsync: The server is configured to refuse --dry-run (-n)", "dry-run"),  # 3.0.9 to 3.5.0
        ("The server is configured to refuse --no-iconv\nrsync error: (code 4)", "no-iconv"),
        ("rsync: The server does not support --crtimes (-N)", "crtimes"),
        ("rsync: on remote machine: --ignore-missing-args: unknown option", "ignore-missing-args"),
        ("rsync: on remote machine: -N: unknown option", "N"),
        ("openrsync: unrecognized option '--files-from=-'\nusage: openrsync", "files-from"),
        ("rsync: unrecognized option `--ignore-missing-args'", "ignore-missing-args"),
        ("rsync: unknown option -- I", "ignore-times"),
        ("openrsync: invalid option -- 'H'", "hard-links"),
        ("--prune-empty-dirs requires protocol 29 or higher (negotiated 27).", "prune-empty-dirs"),
        (f"The server is configured to refuse --{'a' * 10_000}", "a" * 51),
        ("openrsync: unrecognized option `---x'", None),
        (f"rsync: on remote machine: -{'-a' * 30_000}", None),
        ("@ERROR: auth failed on module debian", None),
        ("", None),
    ],
)
def test_a_refusal_is_read_off_what_the_other_end_says(errors: str, option: str | None) -> None:
    assert refused_option(errors) == option


def refusing(*options: str) -> Callable[[frozenset[str]], frozenset[str]]:
    """An upstream that refuses these, one at a time; returns what it was at last asked without."""

    def attempt(left_out: frozenset[str]) -> frozenset[str]:
        for option in options:
            if option not in left_out:
                raise OptionRefused(f"refuse --{option}", option=option)
        return left_out

    return attempt


def test_each_refusal_is_learnt_until_nothing_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    refusals = Refusals(HUB)
    assert refusals.ask(refusing("dry-run", "hard-links")) == {"dry-run", "hard-links"}
    assert refusals.ask(refusing("dry-run")) == {"dry-run", "hard-links"}
    assert [record.message for record in caplog.records] == [
        "upstream refuses --dry-run: listing without it",
        "upstream refuses --hard-links: hard links arrive as copies",
    ]


@pytest.mark.parametrize("option", ["recursive", "links", "times"])
def test_what_nothing_can_be_mirrored_without_is_an_error_with_a_hint(option: str) -> None:
    with pytest.raises(UpstreamError, match=f"--{option}, which") as caught:
        Refusals(HUB).ask(refusing(option))
    assert caught.value.hint and "refuse options" in caught.value.hint


def test_a_refusal_of_what_was_not_asked_for_ends_it() -> None:
    def attempt(left_out: frozenset[str]) -> None:
        raise OptionRefused("refuse --stats", option="stats")

    with pytest.raises(UpstreamError, match="--stats"):
        Refusals(HUB).ask(attempt)


def test_an_upstream_that_refuses_ever_more_is_given_up() -> None:
    asked: list[int] = []

    def attempt(left_out: frozenset[str]) -> None:
        asked.append(len(left_out))
        raise OptionRefused("refuse it", option=f"option-{len(left_out)}")

    with pytest.raises(UpstreamError, match="which mirroring needs"):
        Refusals(HUB).ask(attempt)
    assert len(asked) < 100


def test_it_is_remembered_for_another_run(tmp_path: Path) -> None:
    Refusals(HUB, tmp_path / "state/refused").ask(refusing("dry-run"))
    assert Refusals(HUB, tmp_path / "state/refused").names == {"dry-run"}


def test_another_upstream_is_asked_anew(tmp_path: Path) -> None:
    Refusals(HUB, tmp_path / "refused").ask(refusing("dry-run"))
    assert Refusals("rsync://other.example.org/debian", tmp_path / "refused").names == frozenset()


def test_after_a_while_all_is_asked_for_again(tmp_path: Path) -> None:
    Refusals(HUB, tmp_path / "refused").ask(refusing("dry-run"))
    os.utime(tmp_path / "refused", (0, 0))
    assert Refusals(HUB, tmp_path / "refused", timedelta(hours=24)).names == frozenset()


@pytest.mark.parametrize("content", [b"", b"\xff", b"\0" * 100])
def test_a_damaged_file_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "refused").write_bytes(content)
    assert Refusals(HUB, tmp_path / "refused").names == frozenset()
