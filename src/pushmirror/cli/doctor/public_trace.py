"""What the public sees at a site: its trace, read over the web and compared with ours.

Not the business of this module: whether the site can be woken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pushmirror.archive.trace import archive_serial, parse_trace
from pushmirror.cli.doctor.fetch import NotFetchedError, fetch
from pushmirror.cli.doctor.finding import Finding, ok, warning
from pushmirror.config.model import Archive, Config, Site
from pushmirror.status.words import ago, short, span

_DIRECTORY = "project/trace"
_SLACK = timedelta(minutes=5)  # between two clocks


@dataclass(frozen=True, slots=True)
class Shown:
    """What a trace tells of a mirror's state."""

    finished: datetime | None  # none: it is no trace
    serial: str  # of the archive, from its origin; empty: unknown
    generation: str  # only pushmirror writes it; else empty


def of_site(site: Site, config: Config, now: datetime) -> Iterator[Finding]:
    """One finding for each archive whose trace the public can read at a site, and one for a wrong clock."""
    for name, url in addresses(site).items():
        subject = f"trace of {site.name} for {name}"
        try:
            shown = read(fetch(url))
        except NotFetchedError as exc:
            yield warning(
                subject, str(exc), "see `url` and `trace` in the site's file; a new site has none yet"
            )
            continue
        yield judge(subject, shown, ours(config.archives[name], config.mirror.name), now)
        yield from judge_clock(f"clock of {site.name}", shown, now)


def addresses(site: Site) -> dict[str, str]:
    """Where the traces of a site are, by the name of the archive."""
    if not site.url:
        return {}
    names = site.archives
    if "{archive}" not in site.url:  # then it is the address of one
        names = (site.main_archive or names[0],)
    end = f"/{_DIRECTORY}/{site.trace or site.name}"
    return {name: site.url.replace("{archive}", name).rstrip("/") + end for name in names}


def read(text: str) -> Shown:
    """What can be read of a trace."""
    facts = parse_trace(text)
    return Shown(facts.date, archive_serial(text) or "", facts.fields.get("Generation", ""))


def ours(archive: Archive, mirror: str) -> Shown:
    """What our own tree says: the serial is its origin's, the generation our trace's."""
    own, master = (_local(archive.path / _DIRECTORY / name) for name in (mirror, "master"))
    shown = read(own)
    return Shown(shown.finished, archive_serial(master) or shown.serial, shown.generation)


def _local(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def judge(subject: str, shown: Shown, own: Shown, now: datetime) -> Finding:
    """Whether a site shows what we serve, by its trace."""
    if shown.finished is None:
        return warning(subject, "what is there is no trace", "see `url` and `trace` in the site's file")
    age = f"of {ago(shown.finished, now)}"
    if shown.generation and own.generation:
        theirs, wanted, what = short(shown.generation), short(own.generation), "generation"
    else:
        theirs, wanted, what = shown.serial, own.serial, "archive serial"
    if not theirs or not wanted:
        return ok(subject, f"{age}; nothing in it can be compared with ours")
    if theirs == wanted:
        return ok(subject, f"{age}, {what} {theirs}: the same as ours")
    where = "ahead of" if _is_newer(theirs, wanted, what) else "behind" if what != "generation" else "not"
    return warning(
        subject,
        f"{age}, {what} {theirs}: {where} ours, {wanted}",
        "see `pushmirror status` for what the site is doing",
    )


def _is_newer(theirs: str, wanted: str, what: str) -> bool:
    """A generation has no order; serials are numbers that grow."""
    comparable = what != "generation" and theirs.isdecimal() and wanted.isdecimal()
    return comparable and int(theirs[:20]) > int(wanted[:20])


def judge_clock(subject: str, shown: Shown, now: datetime) -> Iterator[Finding]:
    """A trace from the future means that one of the two clocks is wrong."""
    if shown.finished and shown.finished > now + _SLACK:
        ahead = span(shown.finished - now)
        yield warning(
            subject, f"its trace is {ahead} in the future", "one of the two clocks is wrong: set it"
        )
