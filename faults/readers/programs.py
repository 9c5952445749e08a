"""The readers of what other programs say: pushers by ssh, sites, rsync at either end, its daemon's log."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from faults.readers.judged import Reader, require, require_inside, require_link_inside, text
from pushmirror.access import transfer_log
from pushmirror.archive.paths import Entry
from pushmirror.archive.release import MAX_SIZE
from pushmirror.archvsync_commands.ftpsync_config import asked
from pushmirror.checks import public_trace
from pushmirror.checks import site as doctor
from pushmirror.config.model import Archive, Site
from pushmirror.errors import PushmirrorError
from pushmirror.fetch import rsync_command
from pushmirror.fetch.refusals import in_words, refused_option
from pushmirror.fetch.unreadable import Complaints
from pushmirror.fetch.upstream import _Listing
from pushmirror.inventory.diff import DiskDiff
from pushmirror.push.callback import caller, site_that_called
from pushmirror.push.ssh import known_hosts
from pushmirror.push.trigger import MAX_WORDS, parse_trigger, words_for, words_of
from pushmirror.push.trigger_sender import MAX_OUTPUT, Answer
from pushmirror.system.rsync_version import parse_version

_NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
_MARK = b">MARK"  # stands in the corpus for what is another word in each process: rsync_command.ENTRY
_MOST_SHOWN = 1000  # characters of an error that a site's answer or upstream's words are a part of


def _archive(upstream: str) -> Archive:
    told = {"name": "debian", "path": "/nowhere/debian", "upstream": upstream}
    return Archive.model_validate(told)


_DAEMON = _archive("rsync://site@hub.example.org/mirrors/debian")
_SSH = _archive("rsync+ssh://me@hub.example.org/srv/debian")


@cache
def _site() -> Site:
    told = {"name": "site", "host": "site.example.org", "user": "mirror", "archives": ("debian",)}
    return Site.model_validate(told)


# --- Pushers and sites ------------------------------------------------------------------------------------


def _trigger(data: bytes) -> None:
    original = text(data)
    words = words_of(original, ())
    require(len(words) <= MAX_WORDS, "more words than a trigger has")
    require(all(word.isascii() or word.encode() for word in words), "a word that cannot be told")
    wanted = parse_trigger(words)

    told = words_for(
        wanted.archive,
        wanted.stage,
        mhop=wanted.mhop,
        callback=wanted.callback,
        generation=wanted.generation or "",
    )
    again = parse_trigger(words_of(told, ()))
    if len(wanted.archive) < 100:
        facts = ("archive", "stage", "mhop", "callback", "generation")
        require(all(getattr(again, one) == getattr(wanted, one) for one in facts), "other words mean another")
    call = asked((), None, {"SSH_ORIGINAL_COMMAND": original})
    require(call.changed_by(call.variables()) == call, "a call that changes itself")
    name = caller(words)
    require(name is None or not any(word.startswith("sync:") for word in words), "a push taken for a call")
    if name is not None:
        site_that_called({"site": _site()}, name)


def _answer(data: bytes) -> None:
    said = data[-MAX_OUTPUT:].decode("utf-8", "replace")
    for code in (0, 1, 64, 78, 127, -9):
        answer = Answer(code, said)
        require(len(answer.last_words) <= _MOST_SHOWN, "words without an end")
        findings = list(doctor.judge_answer(_site(), answer, _NOW))
        require(bool(findings), "an answer that means nothing")
    shown = public_trace.read(said)
    public_trace.judge("x", shown, public_trace.PublicTrace(_NOW, "2026111601", "a" * 64), _NOW)
    list(public_trace.judge_clock("x", shown, _NOW))


def _known_hosts(data: bytes) -> None:
    told = text(data)
    for port in (None, 2222):
        pins = known_hosts.pins_of(told, "site.example.org", port)
        pins.algorithms()
        rest = known_hosts.without(told, "site.example.org", port)
        left = known_hosts.pins_of(rest, "site.example.org", port)
        require(left.revoked == pins.revoked, "a revoked key that is forgotten")
        require(
            known_hosts.without(rest, "site.example.org", port) == rest, "a key that is not forgotten at once"
        )


# --- rsync ------------------------------------------------------------------------------------------------


def _listing(parse: rsync_command.ParseLine) -> Callable[[bytes], None]:
    """As Upstream.listing and the strategy `full` take it, against an empty tree."""

    def read(data: bytes) -> None:
        comparison = DiskDiff(Path("/nowhere"), lambda _: {})
        entries: list[Entry] = []
        lines = _Listing(entries.append, parse)
        for line in data.replace(_MARK, rsync_command.ENTRY).split(b"\n"):
            lines.take(line)
        for entry in sorted(entries, key=lambda one: one.path.split("/")):
            comparison.take(entry)
        require(all(0 <= entry.size <= MAX_SIZE for entry in entries), "a size out of bounds")
        diff = comparison.finish()
        require_inside(diff.names_in_publishing_order())
        require_inside(diff.directories)
        for path, link in diff.links.items():
            require_link_inside(path, link.target)

    return read


def _transfer(data: bytes) -> None:
    reader = rsync_command.StatsReader()
    for line in data.replace(_MARK, rsync_command.ENTRY).split(b"\n"):
        if fetched := rsync_command.parse_fetch_line(line):
            require(max(fetched[:2]) <= MAX_SIZE + 1, "a number out of bounds")
        reader.take(line)
    moved = reader.moved()
    for number in (moved.files, moved.bytes_received, moved.bytes_sent):
        require(0 <= number <= MAX_SIZE + 1, "a number out of bounds")
    reader.stats()


def _complaints(data: bytes) -> None:
    words = data.decode("utf-8", "replace")
    for archive in (_DAEMON, _SSH):
        complaints = Complaints.of(archive)
        for line in data.split(b"\n"):
            complaints.take(line)
        found = complaints.unseen
        require(found.covers("x") in {True, False}, "neither")
        for code in (1, 5, 10, 12, 23, 24, 30, 35, -9):
            failed = rsync_command.failure(code, words, archive=archive, is_silent=True)
            require(isinstance(failed, PushmirrorError) and bool(str(failed)), "no error")
    if option := refused_option(words):
        require(option.isascii() and not option.startswith("-") and " " not in option, "no option's name")
        in_words(option)
        argv = rsync_command.fetch_argv(
            _DAEMON, Path("/w"), version=rsync_command.Version((3, 2, 7)), basis=None, refused={option}
        )
        require(argv[-2:] == [rsync_command.source_of(_DAEMON), "/w/"], "other operands")


def _version(data: bytes) -> None:
    told = data[:200].decode("utf-8", "replace")
    version = rsync_command.Version(parse_version(told))
    require(str(version).replace(".", "").isdigit(), "no version")


def _log(data: bytes) -> None:
    file = scratch() / "rsyncd.log"
    file.write_bytes(data)
    for one in transfer_log.logins(file):
        require(bool(one.user) and one.at.tzinfo is not None, "a login of nobody")


@cache
def scratch() -> Path:
    """A directory of this process's own, for readers of files."""
    # A directory of ours alone, in memory: a disk takes longer than the readers.
    memory = "/dev/shm"  # noqa: S108  # nosec B108
    _KEPT.append(
        tempfile.TemporaryDirectory("-fuzz", "pushmirror-", memory if Path(memory).is_dir() else None)
    )
    return Path(_KEPT[-1].name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # each goes when the process ends

READERS: Mapping[str, Reader] = {
    "trigger": Reader(_trigger, ()),
    "answer": Reader(_answer, ()),
    "known-hosts": Reader(_known_hosts, ()),
    "rsync-listing": Reader(_listing(rsync_command.parse_listing_line)),
    "rsync-list": Reader(_listing(rsync_command.parse_plain_line)),
    "rsync-transfer": Reader(_transfer),
    "rsync-complaints": Reader(_complaints, ()),
    "rsync-version": Reader(_version),
    "rsyncd-log": Reader(_log, ()),
}
