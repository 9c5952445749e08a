"""The lines of several runmirrors.mirror as sites, each of one machine with all its archives. Pure.

Guaranteed: each line is a site of its archive that is sent the same words, from the same key, by the same
options; names and logins are unique. Not the business of this module: what sites read (logins.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from pushmirror.config.explain import message
from pushmirror.config.legacy.names import free_name
from pushmirror.config.legacy.shared_variables import number
from pushmirror.config.legacy.values import Runmirrors
from pushmirror.config.model import Site

_PINNED = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
_OF_A_PAIR = {"name", "archives", "main_archive", "archive_names"}  # that two sites need not agree in


@dataclass(frozen=True, slots=True)
class Lines:
    """A runmirrors.conf with its lines, and the archive of ours that they are pushed for."""

    place: str  # of the .conf
    mirror: str  # of the .mirror
    archive: str
    runmirrors: Runmirrors
    has_ssh_opts: bool = False  # or they are the script's


def sites_of(lines: Sequence[Lines], said: list[str]) -> list[Site]:
    """All sites, in the order of their first lines."""
    found: list[Site] = []
    for one in lines:
        options = _for_every_site(one, said)
        for site in one.runmirrors.sites(one.archive):
            _add(found, _tidied(site, options, one, lines[0], said), one.mirror, said)
    return found


def _for_every_site(one: Lines, said: list[str]) -> tuple[str, ...]:
    """SSH_OPTS, but for what switches the check of host keys off."""
    words = [*one.runmirrors.ssh_options]
    kept: list[str] = []
    while words:
        word = words.pop(0)
        setting = words.pop(0) if word == "-o" and words else ""
        if (setting or word.removeprefix("-o")) in _PINNED:
            what = "SSH_OPTS: host keys are pinned on first use and checked ever after"
            if one.has_ssh_opts and not any(what in warning for warning in said):
                said.append(f"{one.place}: {what}; {setting or word} has no counterpart, on purpose")
        else:
            kept += [word, setting] if setting else [word]
    return tuple(kept)


def _tidied(site: Site, options: tuple[str, ...], one: Lines, first: Lines, said: list[str]) -> Site:
    """Without what [push] says already, and a port as one."""
    told: dict[str, object] = {}
    if site.key == first.runmirrors.push.key:
        told["key"] = None
    words: tuple[str, ...] = (*options, *site.ssh_options)
    if len(words) == 2 and words[0] == "-p" and (port := number(words[1])) is not None:
        told["port"] = port
        words = ()
    told["ssh_options"] = words
    try:
        return Site.model_validate({**dict(site), **told})
    except ValidationError as exc:
        what = message(exc.errors(include_url=False)[0])
        said.append(f"{one.place}: SSH_OPTS and options of {site.name}: {what}; they are left out")
        return Site.model_validate({**dict(site), **told, "ssh_options": (), "port": None})


def _add(found: list[Site], site: Site, place: str, said: list[str]) -> None:
    """Join a site with the one that it is already, or add it under a name that is free."""
    same = [n for n, one in enumerate(found) if _same_login(one, site) or _same_name(one, site)]
    for n in same:
        if joined := _joined(found[n], site):
            found[n] = joined
            return
    if twin := next((one for one in found if _is_twin(one, site)), None):
        said.append(
            f"{place}: {site.name} is left out: {twin.name} is pushed for {site.archives[0]} at the same "
            "account; one trigger is enough where both mean one archive"
        )
        return
    if same:
        other = found[same[0]]
        name = site.name
        if _taken(name, found):
            name = free_name(f"{name}-{site.archives[0]}", lambda one: _taken(one, found))
        said.append(
            f"{place}: {site.name} is a site of its own{f', {name},' if name != site.name else ''} beside "
            f"{other.name}, for they differ in {', '.join(_differences(other, site)) or 'their main archive'}"
        )
        site = site.model_copy(update={"name": name})
    found.append(site)


def _joined(one: Site, other: Site) -> Site | None:
    """Two sites as one; none where they differ in more than the archive."""
    if _differences(one, other) or {*one.archives} & {*other.archives}:
        return None
    if one.main_archive and other.main_archive:
        return None
    return one.model_copy(
        update={
            "archives": (*one.archives, *other.archives),
            "main_archive": one.main_archive or other.main_archive,
            "archive_names": {**one.archive_names, **other.archive_names},
        }
    )


def _differences(one: Site, other: Site) -> list[str]:
    return [key for key, value in one if key not in _OF_A_PAIR and value != getattr(other, key)]


def _is_twin(one: Site, other: Site) -> bool:
    return _same_login(one, other) and bool({*one.archives} & {*other.archives})


def _same_login(one: Site, other: Site) -> bool:
    return _login(one) == _login(other)


def _login(site: Site) -> tuple[str, str, int]:
    return site.host.casefold().removesuffix("."), site.user, site.port or 22


def _same_name(one: Site, other: Site) -> bool:
    return one.name.casefold() == other.name.casefold()


def _taken(name: str, found: Sequence[Site]) -> bool:
    return any(name.casefold() == one.name.casefold() for one in found)
