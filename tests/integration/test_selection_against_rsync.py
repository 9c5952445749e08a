import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pushmirror.archive.filters import STAGE1_RULES, Rule, Selection, architecture_rules
from pushmirror.config.model import Archive
from pushmirror.fetch.selection import selection_rules
from pushmirror.system import process

NAMES = st.text(st.sampled_from("ab.-*"), min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
ATOMS = st.sampled_from(
    [
        *("a", "b", ".", "-", "/", "/", "*", "**", "***", "?", "/***", "**/", "\\", "\\*"),
        *("[ab]", "[!a]", "[^b-]", "[a-b]", "[]a]", "[[:alpha:]]", "[[:no:]]", "[.--]", "[a\\-b]", "[", "]"),
    ]
)
PATTERNS = st.lists(ATOMS, min_size=1, max_size=6).map("".join)
RULES = st.lists(st.builds(Rule, st.booleans(), PATTERNS), min_size=1, max_size=5)


def make_tree(root: Path, paths: list[str]) -> dict[str, bool]:
    """Make a file at each path that is still free; returns every entry and whether it is a directory."""
    for path in paths:
        parents = [root.joinpath(path), *root.joinpath(path).parents]
        if root.joinpath(path).exists() or any(parent.is_file() for parent in parents):
            continue
        root.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        root.joinpath(path).touch()
    entries = {}
    for directory, directories, files in os.walk(root):
        below = Path(directory).relative_to(root)
        entries.update({str(below / name): True for name in directories})
        entries.update({str(below / name): False for name in files})
    return entries


def listed_by_rsync(source: Path, empty: Path, selection: Selection) -> set[str]:
    lines: list[str] = []
    argv = ["rsync", "-rn", "--out-format=%n", *selection.rsync_args(), f"{source}/", f"{empty}/"]
    process.run(argv, on_line=lambda line: lines.append(line.decode()), timeout_s=60).check()
    return {line.rstrip("/") for line in lines} - {"."}


def assert_same_as_rsync(paths: list[str], rules: list[Rule]) -> None:
    selection = Selection(tuple(rules))
    with TemporaryDirectory() as directory:
        source, empty = Path(directory, "src"), Path(directory, "empty")
        source.mkdir()
        empty.mkdir()
        entries = make_tree(source, paths)
        ours = {path for path, is_dir in entries.items() if selection.wants(path, is_dir=is_dir)}
        assert ours == listed_by_rsync(source, empty, selection)


@given(st.lists(PATHS, min_size=1, max_size=12), RULES)
@settings(
    max_examples=int(os.environ.get("PUSHMIRROR_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@example(["a/b", "b"], [Rule(False, "a/***")])
@example(["a/b", "b/a"], [Rule(False, "a/**")])
@example(["a/b/a", "b"], [Rule(True, "*/"), Rule(False, "/**b")])
@example(["- a", "!"], [Rule(False, "- a"), Rule(True, "!"), Rule(False, "*")])
def test_wants_what_rsync_would_transfer(paths: list[str], rules: list[Rule]) -> None:
    assert_same_as_rsync(paths, rules)


DEBIAN = [
    "dists/s/InRelease",
    "dists/s/Release",
    "dists/s/Release.gpg",
    "dists/s/main/binary-amd64/Packages.xz",
    "dists/s/main/binary-amd64/Packages.diff/Index",
    "dists/s/main/binary-amd64/Packages.diff/T-1.gz",
    "dists/s/main/binary-amd64/by-hash/SHA256/00",
    "dists/s/main/binary-arm64/Packages.xz",
    "dists/s/main/binary-all/Packages.xz",
    "dists/s/main/source/Sources.xz",
    "dists/s/main/source/by-hash/SHA256/11",
    "dists/s/main/i18n/Translation-en.xz",
    "dists/s/main/i18n/by-hash/SHA256/22",
    "dists/s/main/dep11/icons.tar.gz",
    "dists/s/main/dep11/by-hash/SHA256/33",
    "dists/s/main/cnf/Commands-amd64.xz",
    "dists/s/main/Contents-amd64.gz",
    "dists/s/main/Contents-arm64.gz",
    "dists/s/main/Contents-udeb-arm64.gz",
    "dists/s/main/Contents-amd64.diff/Index",
    "dists/s/main/installer-amd64/20230607/images/SHA256SUMS",
    "dists/s/main/installer-amd64/current/images/x",
    "dists/s/main/installer-arm64/current/images/x",
    "indices/files/arch-arm64.files",
    "indices/arch-arm64.list.gz",
    "pool/main/a/a/a_1_amd64.deb",
    "pool/main/a/a/a_1_arm64.deb",
    "pool/main/a/a/a_1_all.deb",
    "pool/main/a/a/a_1.dsc",
    "pool/main/a/a/a_1.orig.tar.xz",
    "pool/main/a/a/a_1.diff.gz",
    "pool/main/a/a/a_1_arm64.udeb",
    "ls-lR.gz",
    "README",
    "project/trace/master",
]


def test_architecture_rules_mean_the_same_to_rsync() -> None:
    for include, exclude in (
        (["amd64"], []),
        (["source"], []),
        (["amd64", "source"], []),
        ([], ["arm64", "source"]),
    ):
        assert_same_as_rsync(DEBIAN, architecture_rules(include, exclude))


def test_stage1_rules_mean_the_same_to_rsync() -> None:
    assert_same_as_rsync(DEBIAN, list(STAGE1_RULES))


@pytest.mark.parametrize(
    ("filters", "exclude", "architectures", "theirs"),
    [
        (
            ["+ /pool/main/a/***", "- /pool/**"],
            [],
            ["amd64"],
            ["--include=/pool/main/a/***", "--exclude=/pool/**"],
        ),
        (
            ["- *.deb", "+ *_all.deb"],
            ["*.dsc"],
            [],
            ["--exclude=*.deb", "--include=*_all.deb", "--exclude=*.dsc"],
        ),
        (["+ *_arm64.deb"], ["/ls-lR*"], ["amd64"], ["--include=*_arm64.deb", "--exclude=/ls-lR*"]),
    ],
)
def test_ordered_filters_select_what_rsync_does_with_the_options_of_ftpsync(
    tmp_path: Path, filters: list[str], exclude: list[str], architectures: list[str], theirs: list[str]
) -> None:
    source, empty = tmp_path / "src", tmp_path / "empty"
    source.mkdir()
    empty.mkdir()
    entries = make_tree(source, [path for path in DEBIAN if not path.startswith("project/")])
    keys = {"filter": filters, "exclude": exclude, "architectures": architectures}
    archive = Archive.model_validate({"name": "debian", "path": "/srv", **keys})
    selection = Selection(tuple(selection_rules(archive)))
    ours = {path for path, is_dir in entries.items() if selection.wants(path, is_dir=is_dir)}
    behind = [rule.argument() for rule in architecture_rules(architectures, [])]
    argv = [
        "rsync",
        "-rn",
        "--out-format=%n",
        *theirs,
        "--exclude=.~tmp~",
        *behind,
        f"{source}/",
        f"{empty}/",
    ]
    lines = process.run(argv, timeout_s=60).check().output.decode().splitlines()
    assert ours == {line.rstrip("/") for line in lines} - {"."}
    assert 0 < len(ours) < len(entries)
