"""What we say to rsync and what it says to us, as tables."""

from pathlib import Path

import pytest

from pushmirror.archive.paths import Entry, Kind
from pushmirror.archive.release import MAX_SIZE
from pushmirror.config.model import Archive
from pushmirror.errors import (
    ConnectionFailed,
    Exit,
    OptionRefused,
    ProgramFailed,
    UpstreamError,
    UpstreamFull,
)
from pushmirror.fetch.rsync_command import (
    ENTRY,
    StatsReader,
    Unreadable,
    Version,
    environment,
    failure,
    fetch_argv,
    files_argv,
    is_full,
    listing_argv,
    names_asked,
    parse_fetch_line,
    parse_listing_line,
    parse_plain_line,
    pin_argv,
    present_argv,
    probe_argv,
    source_of,
    unescape,
)
from pushmirror.system.rsync_version import parse_version

NEW, OLD = Version((3, 5, 0)), Version((3, 1, 3))
SECRET = Path("/etc/pushmirror/upstream.secret")


def archive(upstream: str = "rsync://site1@hub.example.org/debian", **options: object) -> Archive:
    return Archive.model_validate({"name": "debian", "path": "/srv/debian", "upstream": upstream, **options})


@pytest.mark.parametrize(
    ("upstream", "source"),
    [
        ("rsync://hub.example.org/debian", "rsync://hub.example.org/debian/"),
        ("rsync://me@hub.example.org:8730/mod/sub", "rsync://me@hub.example.org:8730/mod/sub/"),
        ("rsync://[2001:db8::1]/debian/", "rsync://[2001:db8::1]/debian/"),
        ("rsyncs://me@hub.example.org/debian", "me@hub.example.org::debian/"),
        ("rsync+ssh://me@hub.example.org/srv/debian", "me@hub.example.org:/srv/debian/"),
        ("rsyncd+ssh://me@hub.example.org:22/mod/sub", "me@hub.example.org::mod/sub/"),
    ],
)
def test_the_source_ends_in_a_slash_so_that_no_directory_is_put_into_the_tree(
    upstream: str, source: str
) -> None:
    assert source_of(archive(upstream)) == source


@pytest.mark.parametrize(
    "upstream", ["rsync://me@hub/debian", "rsyncs://me@hub/debian", "rsyncd+ssh://me@hub/debian"]
)
def test_the_password_is_named_by_its_file_in_every_command_line(upstream: str) -> None:
    one = archive(upstream, password_file=SECRET)
    for argv in (
        listing_argv(one, [], Path("/e")),
        pin_argv(one, [], Path("/p")),
        fetch_argv(one, Path("/n"), version=NEW, basis=None),
    ):
        assert f"--password-file={SECRET}" in argv
        assert argv[0] == "rsync" and "--stats" in argv


def test_each_transfer_is_bounded_in_time_and_rate() -> None:
    argv = listing_argv(
        archive(timeout="90s", connect_timeout="7s", bandwidth_limit="5M"), [], Path("/empty")
    )
    assert {"--timeout=90", "--contimeout=7"} <= set(argv)
    assert any(word.startswith("--bwlimit=") for word in argv)


def test_options_of_the_operator_come_after_ours_and_before_the_operands() -> None:
    argv = fetch_argv(archive(rsync_options=["--ipv4"]), Path("/new"), version=NEW, basis=None)
    assert argv[-3:] == ["--ipv4", "rsync://site1@hub.example.org/debian/", "/new/"]


@pytest.mark.parametrize(("version", "trusted"), [(NEW, True), (OLD, False), (Version((3, 2, 4)), False)])
def test_the_sender_is_trusted_only_by_versions_that_can(version: Version, trusted: bool) -> None:
    argv = fetch_argv(archive(), Path("/new"), version=version, basis=None)
    assert ("--trust-sender" in argv) is trusted


def test_a_basis_is_given_when_there_is_one() -> None:
    assert "--copy-dest=/srv/debian" in fetch_argv(
        archive(), Path("/n"), version=NEW, basis=Path("/srv/debian")
    )


def test_ssh_asks_no_questions_and_uses_the_key() -> None:
    one = archive("rsync+ssh://me@hub:2222/srv", ssh_key="/home/me/key")
    (shell,) = [word for word in pin_argv(one, [], Path("/p")) if word.startswith("--rsh=")]
    assert {"BatchMode=yes", "IdentitiesOnly=yes"} <= set(shell.split())
    assert "-p 2222" in shell and "-i /home/me/key" in shell


def test_the_login_of_a_daemon_behind_ssh_is_not_that_of_its_module() -> None:
    one = archive("rsyncd+ssh://module@hub:2222/debian", ssh_options=["-l", "login"])
    argv = pin_argv(one, [], Path("/p"))
    (shell,) = [word for word in argv if word.startswith("--rsh=")]
    assert shell.split()[-2:] == ["-l", "login"] and "-p 2222" in shell
    assert "module@hub::debian/" in argv


@pytest.mark.parametrize(
    ("method", "program"),
    [
        ("own", "pushmirror.fetch.tls --port 1873 "),
        ("stunnel", "pushmirror.fetch.tls_program --method stunnel --port 1873 "),
        ("stunnel-old", "pushmirror.fetch.tls_program --method stunnel-old --port 1873 "),
        ("socat", "pushmirror.fetch.tls_program --method socat --port 1873 "),
    ],
)
def test_tls_is_carried_by_the_method_that_is_configured(method: str, program: str) -> None:
    (shell,) = [
        word
        for word in pin_argv(archive("rsyncs://me@hub/debian", tls_method=method), [], Path("/p"))
        if word.startswith("--rsh=")
    ]
    assert f" -P -m {program}--ca /etc/ssl/certs --timeout 30" in shell


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, {"RSYNC_PASSWORD": ""}),
        ({"password_file": SECRET}, {}),
        ({"password_file": SECRET, "proxy": "me:x@proxy:3128"}, {"RSYNC_PROXY": "me:x@proxy:3128"}),
    ],
)
def test_what_must_not_be_in_a_command_line_is_in_the_environment(
    options: dict[str, object], told: dict[str, str]
) -> None:
    assert environment(archive(**options)) == told
    assert not [word for word in pin_argv(archive(**options), [], Path("/p")) if "proxy" in word]


def test_a_key_whose_path_has_a_blank_stays_one_word() -> None:
    one = archive("rsync+ssh://me@hub/srv", ssh_key="/home/me/my key")
    (shell,) = [word for word in pin_argv(one, [], Path("/p")) if word.startswith("--rsh=")]
    assert "'/home/me/my key'" in shell or '"/home/me/my key"' in shell


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("rsync  version 3.5.0  protocol version 32", (3, 5, 0)),
        ("rsync  version v3.2.7pre1  protocol version 31", (3, 2, 7)),
        ("rsync  version 3.4  protocol version 32", (3, 4, 0)),
    ],
)
def test_versions_are_read(text: str, number: tuple[int, int, int]) -> None:
    assert parse_version(text) == number


@pytest.mark.parametrize("text", ["", "openrsync: protocol version 29", "bash: no"])
def test_another_program_is_not_taken_for_rsync(text: str) -> None:
    with pytest.raises(ProgramFailed, match="not rsync"):
        parse_version(text)


# Lines

T = b"2026/11/22-17:23:07"
SECONDS = 1795368187


def file(path: str, size: int) -> Entry:
    return Entry(path, Kind.FILE, size, SECONDS)


def link(path: str, target: str) -> Entry:
    return Entry(path, Kind.LINK, target=target)


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (b">f+++++++++ 1234 %s pool/a" % T, file("pool/a", 1234)),
        (b">f+++++++++ 0 %s  two blanks " % T, file(" two blanks ", 0)),
        (b">f+++++++++ 1 %s a -> b" % T, file("a -> b", 1)),
        (b">f+++++++++ 1 %s \\#134#012" % T, file("\\#012", 1)),
        (b">f+++++++++ 1 %s \xe9" % T, file("\udce9", 1)),
        (b"cd+++++++++ 4096 %s pool/" % T, Entry("pool", Kind.DIRECTORY)),
        (b"cd+++++++++ 4096 when pool/", Entry("pool", Kind.DIRECTORY)),
        (b"cL+++++++++ 6 %s stable -> trixie" % T, link("stable", "trixie")),
        (b"cL+++++++++ 0 %s stable -> trixie" % T, link("stable", "trixie")),
        (b"cL+++++++++ 6 %s a -> b -> c" % T, link("a", "b -> c")),
        (b"cL+++++++++ 1 %s a -> b -> c" % T, link("a -> b", "c")),
        (b"cL+++++++++ 2 %s a -> b -> \xc3\xa9" % T, link("a -> b", "é")),
        (b".d..t...... 4096 %s ./" % T, None),
        (b"cD+++++++++ 0 %s null" % T, None),
        (b"cS+++++++++ 0 %s pipe" % T, None),
    ],
)
def test_lines_of_a_listing_are_read(line: bytes, entry: Entry | None) -> None:
    assert parse_listing_line(ENTRY + line) == entry


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (b"-rw-r--r--        1234 2026/11/22 17:23:07 pool/a", file("pool/a", 1234)),
        (b"-rw-r--r--       1,234 2026/11/22 17:23:07 pool/a", file("pool/a", 1234)),
        (b"-rw-r--r-- 12345678901234 2026/11/22 17:23:07  two blanks ", file(" two blanks ", 12345678901234)),
        (b"-rwsr-Sr-T           1 2026/11/22 17:23:07 a -> b", file("a -> b", 1)),
        (b"drwxr-xr-x        4096 2026/11/22 17:23:07 pool", Entry("pool", Kind.DIRECTORY)),
        (b"drwxr-xr-x        4096 (time out of range) pool", Entry("pool", Kind.DIRECTORY)),
        (b"lrwxrwxrwx           6 2026/11/22 17:23:07 stable -> trixie", link("stable", "trixie")),
        (b"lrwxrwxrwx           1 2026/11/22 17:23:07 a -> b -> c", link("a -> b", "c")),
        (b"drwxr-xr-x        4096 2026/11/22 17:23:07 .", None),
        (b"prw-r--r--           0 2026/11/22 17:23:07 pipe", None),
        (b"receiving file list ... done", None),
        (b"-rw-r--r-- welcome to the mirror", None),
    ],
)
def test_lines_of_rsyncs_own_list_are_read(line: bytes, entry: Entry | None) -> None:
    assert parse_plain_line(line) == entry


#: Lines that a daemon's operator, a shell or rsync itself may print beside ours.
FOREIGN = [
    b">>>>>>>>>> WELCOME <<<<<<<<<<",
    b">>f+++++++++ 1234 %s pool/a" % T,
    b">f",
    b"@ hello",
    b"\xff\xfe",
    b"Number of files: 99",
    b"",
    b'skipping non-regular file "x"',
    b"x" * 100_000,
]


@pytest.mark.parametrize("line", FOREIGN, ids=lambda line: ascii(line[:20]))
def test_lines_of_others_are_none_of_ours(line: bytes) -> None:
    assert [parse_listing_line(line), parse_plain_line(line), parse_fetch_line(line)] == [None] * 3


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b">f+++++++++ 1 %s doc/a\\#012b" % T, "doc/a\nb"),
        (b">f+++++++++ 1 %s doc/a\xc2\x85" % T, "doc/a\x85"),
        (b">f+++++++++ 8 yesterday a", "a"),
        (b">f+++++++++ 8 10000/01/01-00:00:00 a", "a"),
        (b">f+++++++++ 8 (time-out-of-range) a", "a"),
        (b">f+++++++++ -8 %s a" % T, "a"),
        (b">f+++++++++ %d %s a" % (2**63, T), "a"),
        (b"cd+++++++++ 1 %s a\\#033/" % T, "a\x1b"),
        (b"cL+++++++++ 9 %s a -> b -> c" % T, "a -> b -> c"),
        (b"cL+++++++++ 1 %s no arrow" % T, "no arrow"),
        (b"cL+++++++++ 1 %s a -> \\#012" % T, "a -> \n"),
    ],
)
def test_a_name_that_cannot_be_mirrored_is_named(line: bytes, name: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse_listing_line(ENTRY + line)
    assert caught.value.name == name and caught.value.is_directory is line.startswith(b"cd")


@pytest.mark.parametrize("line", [b"", b">f+++++++++ 8", b">f+++++++++ many %s a" % T])
def test_a_line_of_a_listing_that_is_cut_makes_it_useless(line: bytes) -> None:
    with pytest.raises(UpstreamError, match="cannot be read"):
        parse_listing_line(ENTRY + line)


@pytest.mark.parametrize(
    ("line", "fetched"),
    [
        (b"100 1234 pool/a b", (100, 1234, "pool/a b")),
        (b"0 0 \\#012", (0, 0, "\n")),
        (b"0 4096 pool/", None),
        (b"0", None),
    ],
)
def test_lines_of_a_fetch_are_read(line: bytes, fetched: tuple[int, int, str] | None) -> None:
    assert parse_fetch_line(ENTRY + line) == fetched


# Refusals

SENT = {  # what each refusal takes out of every command line
    "dry-run": "n",
    "hard-links": "H",
    "ignore-times": "I",
    "perms": "p",
    "files-from": "--files-from=-",
    "relative": "--files-from=-",
    "safe-links": "--safe-links",
    "timeout": "--timeout=120",
    "ignore-missing-args": "--ignore-missing-args",
    "compress": "--compress",
    "dirs": "--dirs",
}


def every_argv(refused: set[str]) -> list[list[str]]:
    one, at = archive(rsync_options=["--compress", "-z"]), Path("/e")
    return [
        listing_argv(one, [], at, refused=refused),
        present_argv(one, at, refused=refused),
        pin_argv(one, [], at, refused=refused),
        fetch_argv(one, at, version=NEW, basis=None, refused=refused),
        files_argv(one, ["head", "change-1x*"], at, largest=1, refused=refused),
        probe_argv(one, at, version=NEW, refused=refused),
    ]


def letters_of(argv: list[str]) -> set[str]:
    return {letter for word in argv if word[:1] == "-" and word[:2] != "--" for letter in word[1:]}


@pytest.mark.parametrize(("option", "word"), SENT.items())
def test_what_is_refused_is_in_no_command_line(option: str, word: str) -> None:
    assert any(word in argv or word in letters_of(argv) for argv in every_argv(set()))
    assert not any(word in argv or word in letters_of(argv) for argv in every_argv({option}))


def test_the_last_resort_is_what_ftpsync_asks_for() -> None:
    allowed = {"r", "l", "t"}
    for argv in every_argv(set(SENT)):
        assert letters_of(argv) <= allowed


def test_without_a_dry_run_the_listing_has_no_destination() -> None:
    argv = listing_argv(archive(), [], Path("/e"), refused={"dry-run"})
    assert argv[-1].startswith("rsync://") and not any("out-format" in word for word in argv)


def test_a_module_that_insists_on_a_character_set_is_told_ours() -> None:
    assert all("--iconv=UTF-8" in argv for argv in every_argv({"no-iconv"}))


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("pool/a", "/pool/a"),
        ("pool/a*", r"/pool/a\*"),
        ("pool/a[1]?", r"/pool/a\[1]\?"),
        ("pool/back\\slash", "/pool/back\\slash"),  # without wildcards a backslash is only itself
        ("pool/back\\slash*", r"/pool/back\\slash\*"),
    ],
)
def test_names_are_asked_for_by_rules_that_match_nothing_else(name: str, rule: str) -> None:
    asked = names_asked([name], {"files-from"}).split(b"\0")
    assert asked == sorted([b"", b"/pool/", rule.encode()], key=lambda one: (one == b"", one))


def test_names_are_asked_for_as_they_are_where_that_is_allowed() -> None:
    assert names_asked(["b", "a*"], set()) == b"a*\0b\0"
    assert names_asked(["a"], {"dry-run"}) == b"a\0"
    assert names_asked(["a"], {"dry-run"}, is_listing=True) == b"/a\0"


def test_a_refusal_is_an_error_of_its_own() -> None:
    error = failure(10, "rsync: The server is configured to refuse --dry-run (-n)", archive=archive())
    assert isinstance(error, OptionRefused) and error.option == "dry-run"


def test_statistics_are_read_with_and_without_commas() -> None:
    reader = StatsReader()
    for line in (
        b"Number of files: 1,234 (reg: 1)",
        b"Total bytes sent: 5",
        b"Total bytes received: 6,789",
    ):
        reader.take(line)
    assert (reader.stats().files, reader.stats().bytes_sent, reader.stats().bytes_received) == (1234, 5, 6789)


@pytest.mark.parametrize("number", [b",", b",5", b"", b"-1", b"x"])
def test_statistics_that_tell_no_number_are_none(number: bytes) -> None:
    reader = StatsReader()
    reader.take(b"Number of files: " + number)
    assert reader.moved().files == 0


ENDLESS = b"9" * 5000  # more digits than Python makes a number of


def test_numbers_without_an_end_are_cut_to_a_bound() -> None:
    reader = StatsReader()
    reader.take(b"Total bytes sent: " + ENDLESS)
    assert reader.moved().bytes_sent == MAX_SIZE + 1
    assert parse_fetch_line(ENTRY + b"%b %b pool/a" % (ENDLESS, ENDLESS)) == (*[MAX_SIZE + 1] * 2, "pool/a")
    with pytest.raises(Unreadable):
        parse_plain_line(b"-rw-r--r-- %b 2026/11/22 17:23:07 pool/a" % ENDLESS)


@pytest.mark.parametrize("name", ["\\#999", "\\#400", "\\#01", "\\#018"])
def test_what_is_no_escape_of_rsyncs_is_left_as_it_is(name: str) -> None:
    assert unescape(name.encode()) == name


def test_no_statistics_are_an_error_whatever_the_exit_code() -> None:
    with pytest.raises(UpstreamError, match="without sending anything"):
        StatsReader().stats()


# Ends


@pytest.mark.parametrize(
    ("errors", "meaning", "hint"),
    [
        ("@ERROR: auth failed on module debian", "refuses this user or password", "password_file"),
        ("@ERROR: Unknown module 'debian'", "no such module", "lists modules"),
        ("@ERROR: max connections (50) reached -- try again later", "connection limit", "`streams`"),
        ("rsync: failed to connect to hub (192.0.2.1): Connection refused (111)", "nothing answers", "port"),
        ("rsync: getaddrinfo: hub 873: Name or service not known", "does not exist", "host"),
        ("rsync: failed to connect: No route to host (113)", "cannot be reached", "network"),
        ("rsync error: timeout waiting for daemon connection: timed out", "in time", "connect_timeout"),
        (
            "[sender] io timeout after 2 seconds\nrsync error: timeout in data send/receive",
            "nothing",
            "timeout",
        ),
        ("rsync: write failed on '/x': No space left on device (28)", "the disk is full", "free space"),
        ("rsync: mkstemp '/x' failed: Read-only file system (30)", "is read-only", "mount"),
        ("rsync: could not open password file /x: Permission denied", "password file cannot", "0600"),
        ("TLS connection to hub: CERTIFICATE_VERIFY_FAILED", "not trusted", "tls_ca"),
        ("Host key verification failed.\nrsync: connection closed", "host key is not known", "known_hosts"),
        ("me@hub: Permission denied (publickey).\nrsync: connection closed", "the ssh key", "ssh_key"),
    ],
)
def test_the_end_of_rsync_is_told_in_an_operators_words(errors: str, meaning: str, hint: str) -> None:
    error = failure(10, errors, archive=archive())
    assert meaning in str(error) and "hub.example.org" in str(error)
    assert error.hint is not None and hint in error.hint


@pytest.mark.parametrize(
    ("errors", "kind"),
    [("@ERROR: max connections (3) reached", UpstreamFull), ("@ERROR: auth failed", UpstreamError)],
)
def test_only_of_connections_may_upstream_take_fewer(errors: str, kind: type[UpstreamError]) -> None:
    assert type(failure(5, errors, archive=archive())) is kind and is_full(errors) is (kind is UpstreamFull)


@pytest.mark.parametrize(
    ("code", "errors"),
    [
        (5, "@ERROR: max connections (3) reached"),
        (10, "rsync: failed to connect to hub (1.2.3.4): Connection refused (111)"),
        (10, "rsync: getaddrinfo: hub 873: Temporary failure in name resolution"),
        (5, "rsync: did not see server greeting"),
        (5, "rsync: didn't get server startup line"),
        (5, "TLS connection to hub port 1873: it did not answer in time"),
        (5, "TLS connection to hub port 1873: it closed the connection"),
        (5, "2026.12.01 LOG3[0]: SSL_connect: error:0A000126:SSL routines::unexpected eof while reading"),
        (5, "TLS connection to hub port 1873: EOF occurred in violation of protocol (_ssl.c:992)"),
        (5, "TLS connection to hub port 1873: [Errno 32] Broken pipe"),
        (12, "rsync: connection unexpectedly closed (99 bytes received so far) [receiver]"),
        (255, "rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]"),
        (30, "rsync error: timeout in data send/receive (code 30)"),
        (35, "rsync error: timeout waiting for daemon connection (code 35)"),
    ],
)
def test_a_connection_that_failed_may_be_better_the_next_time(code: int, errors: str) -> None:
    assert isinstance(failure(code, errors, archive=archive()), ConnectionFailed)


@pytest.mark.parametrize(
    ("code", "errors"),
    [
        (5, "@ERROR: auth failed on module debian"),
        (5, "@ERROR: Unknown module 'debian'"),
        (5, "@ERROR: access denied to debian from hub\nrsync: didn't get server startup line"),
        (5, "TLS connection: [SSL: WRONG_VERSION_NUMBER] (_ssl.c:992)\nrsync: did not see server greeting"),
        (10, "rsync: getaddrinfo: hub 873: Name or service not known"),
        (11, "rsync: write failed on x: No space left on device (28)"),
        (12, "CERTIFICATE_VERIFY_FAILED\nrsync: connection unexpectedly closed (0 bytes received so far)"),
        (255, "Host key verification failed.\nrsync: connection unexpectedly closed"),
        (-9, ""),
    ],
)
def test_what_a_person_has_to_mend_is_no_failed_connection(code: int, errors: str) -> None:
    assert not isinstance(failure(code, errors, archive=archive()), ConnectionFailed)


def test_an_end_that_nobody_knows_is_told_in_rsyncs_words() -> None:
    error = failure(12, "rsync: something new\nrsync error: error in protocol (code 12)", archive=archive())
    assert "exit code 12" in str(error) and "something new" in str(error)
    assert error.exit_code is Exit.FAILED


def test_an_end_without_a_word_is_told_too() -> None:
    assert "no error output" in str(failure(-9, "", archive=archive()))
