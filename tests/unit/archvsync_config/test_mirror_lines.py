"""The lines of runmirrors.mirror; how they look on a command line is tested against the real runmirrors."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pushmirror.archvsync_config.runmirrors import MirrorLines, parse_mirror_lines
from pushmirror.archvsync_config.values import MirrorLine, site_of
from pushmirror.config.model import PushKind
from pushmirror.config.types import Wait

KEY = "/home/mirror/.ssh/pushmirror"
PLAIN = MirrorLine(PushKind.ALL, "n", "h.example.org", "u", "main", 2, KEY)


def read(text: str) -> MirrorLines:
    return parse_mirror_lines(text, key=KEY, archive="main")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("all n h.example.org u", PLAIN),
        ("  staged\tn  h.example.org\tu ", replace(PLAIN, kind=PushKind.STAGED)),
        ("mhop n h.example.org u\r\n", replace(PLAIN, kind=PushKind.MHOP)),
        ("all n h.example.org", replace(PLAIN, user=None)),
        ("all n h.example.org \\\n u", PLAIN),
        ("all n h.example.org \\\n# of no account\n u", PLAIN),
        ("all \\n h.exam\\ple.org u", PLAIN),
        ("all n h.example.org u 2", PLAIN),
        ("all n h.example.org u 1", replace(PLAIN, protocol=1)),
        ("all n h.example.org u 2 /k", replace(PLAIN, key="/k")),
        ("all n h.example.org u 2 /k -4", replace(PLAIN, key="/k")),
        ("all n h.example.org u -p  22 -4", replace(PLAIN, protocol=None, ssh_options=("-p", "22", "-4"))),
        ("all n ssh+ftpsync://w@h.example.org/x u -4", replace(PLAIN, user="w", archive="x")),
        ("all n ssh+ftpsync://h.example.org", replace(PLAIN, user=None)),
        ("all n ssh+ftpsync://w@h.example.org/", replace(PLAIN, user="w", archive="")),
    ],
)
def test_a_line_names_a_mirror(text: str, line: MirrorLine) -> None:
    assert read(text).lines == (line,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ALL n h u", "expected all, staged, mhop or DELAY, found ALL"),
        ("all", "expected a name, a host and a user"),
        ("all n", "expected a name, a host and a user"),
        ("all n http://h/debian", "expected an address of ssh+ftpsync://, found http://"),
        ("all n h u 3 /k", "expected options of ssh, or 1 or 2 and a key file, found 3 /k"),
        ("all n h u # no comment", "expected options of ssh, or 1 or 2 and a key file, found # no comment"),
        ("all n h u -p", "ssh_options: expected a value after -p, found ('-p',)"),
        ("all n -oProxyCommand=x u", "host: expected a host name or address, found '-oProxyCommand=x'"),
        ("all n -oProxyCommand=x@h u", "user: expected a user name, found '-oProxyCommand=x'"),
        ("all n h -l", "user: expected a user name, found '-l'"),
        (
            "all n h u 2 ~nobody-of-this-name/key",
            "key: expected an absolute path; there is no such user's home, found "
            + repr(Path("~nobody-of-this-name/key")),
        ),
        ("DELAY soon", "expected seconds, found soon"),
        ("DELAY stage1", "expected seconds, found stage1"),
    ],
)
def test_a_line_that_names_none_is_ignored_with_a_warning_and_the_others_count(text: str, why: str) -> None:
    found = read(f"{text}\nall n h.example.org u\n")
    assert found.lines == (PLAIN,)
    assert found.warnings == (f"line 1 ({' '.join(text.split())}) is ignored: {why}",)


@pytest.mark.parametrize("text", ["", "\n", " \t\n", "# all n h u\n", "   # all n h u\n", "\r\n", "\\"])
def test_lines_that_say_nothing_are_no_mirrors_and_no_mistakes(text: str) -> None:
    assert read(text) == MirrorLines((), ())


def seconds(number: float, *, or_stage1: bool = False) -> Wait:
    return Wait(timedelta(seconds=number), until_stage1=or_stage1)


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("DELAY", (seconds(600),)),
        ("DELAY 5 more words", (seconds(5),)),
        ("DELAY 300 stage1", (seconds(300, or_stage1=True),)),
        ("DELAY 0.5\nDELAY 2m stage1\n", (seconds(0.5), seconds(120, or_stage1=True))),
        ("DELAY 99999999999999999999", (seconds(365 * 86400),)),
    ],
)
def test_a_mirror_waits_for_all_delays_before_its_line(text: str, delay: tuple[Wait, ...]) -> None:
    first, second = read(f"all early h.example.org u\n{text}\nall n h.example.org u").lines
    assert (first.delay, second.delay) == ((), delay)


@pytest.mark.parametrize(
    ("names", "ours"),
    [
        (["n", "n", "n"], ["n", "n-2", "n-3"]),
        (["n", "n-2", "n"], ["n", "n-2", "n-3"]),
        (["../n", "é"], ["site.._n", "site_"]),
    ],
)
def test_each_mirror_has_a_name_of_its_own_that_a_file_can_have(names: list[str], ours: list[str]) -> None:
    found = read("".join(f"all {name} h.example.org u\n" for name in names))
    assert [line.name for line in found.lines] == ours
    assert len(found.warnings) == sum(old != new for old, new in zip(names, ours, strict=True))


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("all n h u 1 /k", "line 1 (n): OpenSSH no longer has protocol 1"),
        ("all n h u 2 /k -p 22", "line 1 (n): -p 22 after the key file is left out"),
    ],
)
def test_what_has_no_effect_is_a_warning(text: str, warning: str) -> None:
    assert read(text).warnings == (warning,)


def test_a_mirror_is_a_site_of_our_archive_by_whatever_name_it_knows_it() -> None:
    by_name = site_of(replace(PLAIN, archive="theirs"), "ours", callback=False)
    main = site_of(replace(PLAIN, archive=""), "ours", callback=True)
    assert (by_name.archives, by_name.archive_names, by_name.main_archive) == (
        ("ours",),
        {"ours": "theirs"},
        None,
    )
    assert (main.archive_names, main.main_archive, main.callback) == ({}, "ours", True)


def test_a_site_has_the_user_that_ssh_would_take_and_a_key_below_home() -> None:
    site = site_of(replace(PLAIN, host="w@h", key=".ssh/other"), "ours", callback=False)
    assert (site.host, site.user, site.key) == ("h", "w", Path.home() / ".ssh/other")
