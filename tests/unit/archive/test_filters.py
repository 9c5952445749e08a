import time

import pytest

from pushmirror.archive.filters import STAGE1_RULES, Rule, Selection, architecture_rules, exclude_rules
from pushmirror.errors import ConfigError


def test_without_rules_everything_is_wanted() -> None:
    assert Selection().wants("a/b") and Selection().rsync_args() == []


def test_the_first_rule_that_matches_decides() -> None:
    selection = Selection((Rule(include=True, pattern="*.deb"), *exclude_rules(["*"])))
    assert selection.wants("a.deb") and not selection.wants("a.dsc")
    assert selection.rsync_args() == ["--include=*.deb", "--exclude=*"]


def test_nothing_below_a_directory_that_is_left_out_is_wanted() -> None:
    selection = Selection((Rule(include=False, pattern="/pool/"), Rule(include=True, pattern="*.deb")))
    assert not selection.wants("pool/main/a.deb") and selection.wants("other/pool/a.deb")


def test_a_pattern_that_looks_like_a_prefix_is_given_as_a_pattern() -> None:
    assert Rule(include=False, pattern="- a").argument() == "--filter=- - a"
    assert Rule(include=True, pattern="!").argument() == "--filter=+ !"


@pytest.mark.parametrize("pattern", ["", "a\nb", "a\0b"])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError):
        Rule(include=True, pattern=pattern)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a*a*a*a*a*a*b", "a" * 255),
        ("**a**a**a**a**b", ("a" * 200 + "/") * 20 + "c"),
        ("/pool/**/*_*_*_amd64.deb", "pool/" + ("_" * 255 + "/") * 15 + "x"),
    ],
)
def test_a_pattern_of_many_stars_takes_no_time_whatever_names_upstream_has(pattern: str, path: str) -> None:
    started = time.process_time()
    assert Selection(tuple(exclude_rules([pattern]))).wants(path)
    assert time.process_time() - started < 1


def test_a_path_may_be_deeper_than_python_calls_itself() -> None:
    selection = Selection(tuple(exclude_rules(["*.tmp"])))
    assert selection.wants("d/" * 2000 + "a") and not selection.wants("x.tmp/" + "d/" * 2000 + "a")


def test_what_is_kept_of_directories_is_bounded() -> None:
    selection = Selection(tuple(exclude_rules(["*.tmp"])))
    assert all(selection.wants(f"{number}/d/a") for number in range(30_000))
    assert len(selection._directories) < 21_000


def selected(paths: str, selection: Selection) -> list[str]:
    return [path for path in paths.split() if selection.wants(path)]


PATHS = """
dists/s/main/binary-amd64/Packages.xz dists/s/main/binary-arm64/Packages.xz
dists/s/main/binary-all/Packages.xz dists/s/main/source/Sources.xz dists/s/main/Contents-arm64.gz
dists/s/InRelease pool/a/a_1_amd64.deb pool/a/a_1_arm64.deb pool/a/a_1_all.deb pool/a/a_1.dsc
pool/a/a_1.orig.tar.xz
"""


def test_included_architectures_bring_all_with_them() -> None:
    selection = Selection(tuple(architecture_rules(["amd64"], [])))
    assert selected(PATHS, selection) == [
        "dists/s/main/binary-amd64/Packages.xz",
        "dists/s/main/binary-all/Packages.xz",
        "dists/s/InRelease",
        "pool/a/a_1_amd64.deb",
        "pool/a/a_1_all.deb",
    ]


def test_source_alone_brings_no_architecture_with_it() -> None:
    selection = Selection(tuple(architecture_rules(["source"], [])))
    assert selected(PATHS, selection) == [
        "dists/s/main/source/Sources.xz",
        "dists/s/InRelease",
        "pool/a/a_1.dsc",
        "pool/a/a_1.orig.tar.xz",
    ]


def test_excluded_architectures_leave_the_rest() -> None:
    selection = Selection(tuple(architecture_rules([], ["arm64"])))
    left_out = [path for path in PATHS.split() if path not in selected(PATHS, selection)]
    assert left_out == [
        "dists/s/main/binary-arm64/Packages.xz",
        "dists/s/main/Contents-arm64.gz",
        "pool/a/a_1_arm64.deb",
    ]


def test_architectures_to_include_and_to_exclude_at_once_are_refused() -> None:
    with pytest.raises(ConfigError):
        architecture_rules(["amd64"], ["arm64"])


def test_stage1_takes_what_indices_refer_to_and_not_the_indices() -> None:
    paths = """
    pool/a.deb dists/s/InRelease dists/s/Release.gpg dists/s/main/binary-amd64/Packages.xz
    dists/s/main/binary-amd64/by-hash/SHA256/00 dists/s/main/binary-amd64/Packages.diff/Index
    dists/s/main/binary-amd64/Packages.diff/T-1.gz dists/s/main/i18n/Translation-en.xz
    dists/s/main/i18n/by-hash/SHA256/11 dists/s/main/cnf/Commands-amd64.xz
    """
    assert selected(paths, Selection(STAGE1_RULES)) == [
        "pool/a.deb",
        "dists/s/main/binary-amd64/by-hash/SHA256/00",
        "dists/s/main/binary-amd64/Packages.diff/T-1.gz",
        "dists/s/main/i18n/by-hash/SHA256/11",
    ]
