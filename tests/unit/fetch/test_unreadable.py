"""Which of rsync's complaints are about one name of upstream's, and which name."""

import pytest

from pushmirror.config.model import Archive
from pushmirror.fetch.unreadable import Complaints, Unseen, shown

DAEMON, BELOW, SSH = "rsync://hub/debian", "rsync://hub/mirrors/debian", "rsync+ssh://me@hub/srv/debian"
DENIED = "Permission denied (13)"


def complaints(upstream: str, *lines: str) -> Complaints:
    one = Complaints.of(Archive.model_validate({"name": "debian", "path": "/srv/t", "upstream": upstream}))
    for line in lines:
        one.take(line.encode("utf-8", "surrogateescape"))
    return one


@pytest.mark.parametrize(
    ("upstream", "line", "files", "directories"),
    [
        (DAEMON, f'rsync: [sender] opendir "/private" (in debian) failed: {DENIED}', set(), {"private"}),
        (DAEMON, f'rsync: opendir "/private" (in debian) failed: {DENIED}', set(), {"private"}),  # 3.1
        (DAEMON, f'rsync: [sender] opendir "private" (in debian) failed: {DENIED}', set(), {"private"}),
        (DAEMON, f'rsync: [sender] send_files failed to open "/doc/x" (in d): {DENIED}', {"doc/x"}, set()),
        (DAEMON, f'rsync: send_files failed to open "/doc/\\#012" (in d): {DENIED}', {"doc/\n"}, set()),
        (DAEMON, f'rsync: send_files failed to open "/a "b"" (in d): {DENIED}', {'a "b"'}, set()),
        (DAEMON, f'rsync: send_files failed to open "/\udce9" (in d): {DENIED}', {"\udce9"}, set()),
        (DAEMON, f'rsync: [sender] readlink_stat("/d/x" (in d)) failed: {DENIED}', {"d/x"}, {"d/x"}),
        (DAEMON, 'rsync: readdir("/d" (in d)): Input/output error (5)', set(), {"d"}),
        (DAEMON, 'rsync: read errors mapping "/f" (in d): Input/output error (5)', {"f"}, set()),
        (BELOW, f'rsync: [sender] opendir "/debian/x" (in mirrors) failed: {DENIED}', set(), {"x"}),
        (SSH, f'rsync: [sender] opendir "/srv/debian/x" failed: {DENIED}', set(), {"x"}),
    ],
)
def test_what_upstream_cannot_read_is_named(
    upstream: str, line: str, files: set[str], directories: set[str]
) -> None:
    one = complaints(upstream, line)
    assert (one.unreadable, one.unreadable_directories, one.others) == (files, directories, 0)


@pytest.mark.parametrize(
    ("line", "files", "directories"),
    [
        ('file has vanished: "/pool/a" (in debian)', {"pool/a"}, set()),
        ('directory has vanished: "/pool" (in debian)', set(), {"pool"}),
        ('rsync: link_stat "/x" (in debian) failed: No such file or directory (2)', {"x"}, {"x"}),
        (
            'rsync: [sender] send_files failed to open "/x" (in d): No such file or directory (2)',
            {"x"},
            set(),
        ),
    ],
)
def test_what_went_away_is_told_from_what_cannot_be_read(
    line: str, files: set[str], directories: set[str]
) -> None:
    one = complaints(DAEMON, line)
    assert (one.vanished, one.vanished_directories, one.others) == (files, directories, 0)
    assert not one.unreadable and not one.unreadable_directories


@pytest.mark.parametrize(
    ("upstream", "line"),
    [
        (DAEMON, 'rsync: mkstemp "/srv/t/x" failed: No space left on device (28)'),
        (DAEMON, f'rsync: [generator] opendir "/srv/t/x" failed: {DENIED}'),
        (DAEMON, f'rsync: opendir "/srv/t/x" failed: {DENIED}'),  # our own: it names no module
        (DAEMON, f'rsync: [sender] change_dir "/" (in debian) failed: {DENIED}'),
        (DAEMON, "rsync: read errors: Input/output error (5)"),
        (DAEMON, "ERROR: pool/a failed verification -- update retained."),
        (DAEMON, "IO error encountered"),
        (BELOW, f'rsync: [sender] opendir "/ubuntu/x" (in mirrors) failed: {DENIED}'),
        (BELOW, 'rsync: [sender] change_dir "/debian" (in mirrors) failed: No such file or directory (2)'),
        (SSH, f'rsync: opendir "/srv/tree/x" failed: {DENIED}'),
        (SSH, "bash: warning: setlocale: LC_ALL: cannot change locale"),
    ],
)
def test_what_is_not_about_a_name_of_upstream_stays_a_failure(upstream: str, line: str) -> None:
    one = complaints(upstream, line)
    assert one.others == 1 and not one.unseen


@pytest.mark.parametrize(
    "line",
    [
        "rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1677)",
        "rsync: [Receiver] read error: Connection reset by peer (104)",
        "rsync warning: some files vanished before they could be transferred (code 24) at main.c(1677)",
        "IO error encountered -- skipping file deletion",
        "WARNING: pool/a failed verification -- update discarded (will try again).",
        "",
    ],
)
def test_lines_that_only_sum_up_are_no_complaints(line: str) -> None:
    assert complaints(DAEMON, line).others == 0


def test_below_an_unseen_directory_nothing_is_known() -> None:
    unseen = Unseen(frozenset({"doc/secret"}), frozenset({"private"}))
    assert all(map(unseen.covers, ("doc/secret", "private", "private/a/b")))
    assert not any(map(unseen.covers, ("doc", "doc/secret/x", "privately", "pool/private")))
    assert unseen and not Unseen()


def test_only_the_first_names_are_shown_and_none_drives_a_terminal() -> None:
    assert shown(["\x1b[31m"]) == "'\\x1b[31m'"
    assert shown(map(str, range(8))).endswith("'4' and 3 more")
