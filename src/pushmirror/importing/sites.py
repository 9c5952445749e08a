"""Translate lines of runmirrors.mirror files to sites, and users of secrets files to their logins. Pure.

Guaranteed: a site is one machine with all its archives; each line becomes a site that gets the same trigger
words, with the same key and options; names and logins are unique. A site's login is its name: whoever could
read a module can read it with the same user and password, or a warning says so. A site whose user has
another name takes that name, so that nobody else can log in as it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pushmirror.archvsync_config.checked import number
from pushmirror.archvsync_config.places import NAME, free_name
from pushmirror.archvsync_config.values import Runmirrors
from pushmirror.config.model import PushKind, Site
from pushmirror.config.problems import message
from pushmirror.importing.rsyncd_conf import Secrets
from pushmirror.importing.rsyncd_modules import ExportedModule

_PINNED = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
_OF_A_PAIR = {
    "name",
    "archives",
    "main_archive",
    "archive_names",
}  # in which the lines of one site may differ


@dataclass(frozen=True, slots=True)
class Lines:
    """A runmirrors.conf with its lines, and the archive that they are pushed for."""

    place: str  # of the .conf
    mirror: str  # of the .mirror
    archive: str
    runmirrors: Runmirrors
    has_ssh_opts: bool = False  # else they are the script's


def sites_of(lines: Sequence[Lines], said: list[str]) -> list[Site]:
    """All sites, in the order of their first lines."""
    found: list[Site] = []
    for one in lines:
        options = _for_every_site(one, said)
        for site in one.runmirrors.sites(one.archive):
            _add(found, _tidied(site, options, one, lines[0], said), one.mirror, said)
    return found


def _for_every_site(one: Lines, said: list[str]) -> tuple[str, ...]:
    """SSH_OPTS, without options that turn the check of host keys off."""
    words = [*one.runmirrors.ssh_options]
    kept: list[str] = []
    while words:
        word = words.pop(0)
        setting = words.pop(0) if word == "-o" and words else ""
        if (setting or word.removeprefix("-o")) in _PINNED:
            what = "SSH_OPTS: host keys are stored on first use and always checked afterwards"
            if one.has_ssh_opts and not any(what in warning for warning in said):
                said.append(f"{one.place}: {what}; {setting or word} intentionally has no counterpart")
        else:
            kept += [word, setting] if setting else [word]
    return tuple(kept)


def _tidied(site: Site, options: tuple[str, ...], one: Lines, first: Lines, said: list[str]) -> Site:
    """The site without options that [push] has, with the port as `port`."""
    fields: dict[str, object] = {}
    if site.key == first.runmirrors.push.key:
        fields["key"] = None
    words: tuple[str, ...] = (*options, *site.ssh_options)
    if len(words) == 2 and words[0] == "-p" and (port := number(words[1])) is not None:
        fields["port"] = port
        words = ()
    fields["ssh_options"] = words
    try:
        return Site.model_validate({**dict(site), **fields})
    except ValidationError as exc:
        what = message(exc.errors(include_url=False)[0])
        said.append(f"{one.place}: SSH_OPTS and options of {site.name}: {what}; they are left out")
        return Site.model_validate({**dict(site), **fields, "ssh_options": (), "port": None})


def _add(found: list[Site], site: Site, place: str, said: list[str]) -> None:
    """Merge a site into the one that it equals, or add it under a free name."""
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
    """Both sites as one; None if they differ in more than the archive."""
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


_NOBODY = "nobody"  # the account of a site that is never pushed


def give_logins(
    sites: list[Site],
    offer_of: Mapping[str, ExportedModule],
    secrets: Mapping[Path, Secrets],
    said: list[str],
) -> tuple[list[Site], dict[str, str]]:
    """The sites, with further ones that only read; and the passwords."""
    known = {site.name.casefold(): site.name for site in sites}
    reads, passwords = _users(offer_of, secrets, known, said)
    names = {name: n for n, name in enumerate(site.name for site in sites)}
    found, renamed = [*sites], []
    for user in sorted(passwords, key=lambda one: one not in names):  # the same name is the surest match
        at = _site_of(user, found, passwords)
        if at is None:
            found.append(_reader(user, reads[user]))
            continue
        site = found[at]
        if site.name != user:
            renamed.append(f"{site.name} is {user}")
        found[at] = _with_reads(site.model_copy(update={"name": user}), reads[user], offer_of, said)
    if renamed:
        said.append(f"sites are named like their rsync users: {', '.join(renamed)}")
    return found, passwords


def _users(
    offer_of: Mapping[str, ExportedModule],
    secrets: Mapping[Path, Secrets],
    sites: Mapping[str, str],
    said: list[str],
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The archives that each user may read, and its password; `sites` are names by their casefolded form."""
    reads: dict[str, list[str]] = {}
    passwords: dict[str, str] = {}
    known = _spelt(offer_of, secrets, sites)
    refused: set[str] = set()
    for archive, offer, user, password in _logins(offer_of, secrets):
        if wrong := _wrong(user, known, passwords.get(user, password) != password):
            said.append(f"{offer.secrets}: {wrong}")
            refused.add(user)
            continue
        passwords[user] = password
        reads.setdefault(user, []).append(archive)
    said += _left_out({*reads, *refused}, secrets)
    return reads, passwords


def _logins(
    offer_of: Mapping[str, ExportedModule], secrets: Mapping[Path, Secrets]
) -> Iterator[tuple[str, ExportedModule, str, str]]:
    """Archive, module, user and password of every login."""
    for archive, offer in offer_of.items():
        file = secrets.get(offer.secrets) if offer.secrets and offer.rules else None
        for user, password in file.passwords.items() if file else ():
            if offer.lets_in(user):
                yield archive, offer, user, password


def _spelt(
    offer_of: Mapping[str, ExportedModule], secrets: Mapping[Path, Secrets], sites: Mapping[str, str]
) -> dict[str, str]:
    """Of users that differ in case only: the one with a site's own name, else the first."""
    known: dict[str, str] = {}
    for _, _, user, _ in _logins(offer_of, secrets):
        if known.setdefault(user.casefold(), user) != user and sites.get(user.casefold()) == user:
            known[user.casefold()] = user
    return known


def _wrong(user: str, known: Mapping[str, str], other_password: bool) -> str:
    if not NAME.fullmatch(user):
        return (
            f"the user {user!a} cannot log in: a user must be a site name of letters, digits and "
            ". _ -; add a site for it: pushmirror site add"
        )
    if known.get(user.casefold(), user) != user:
        return f"the user {user} cannot log in: its name differs from {known[user.casefold()]} only in case"
    if other_password:
        return f"the user {user} has different passwords for its modules; this one is used for all"
    return ""


def _left_out(fields: Collection[str], secrets: Mapping[Path, Secrets]) -> Iterator[str]:
    for file, one in secrets.items():
        for user in one.passwords:
            if user not in fields and NAME.fullmatch(user):
                yield f"{file}: the user {user} has access to no imported module and is left out"


def _site_of(user: str, sites: list[Site], passwords: Mapping[str, str]) -> int | None:
    """The site that logs in as this user: by its name in any case, else by account or host.

    The account and the first label of the host count only if exactly one site has them. A site that has a
    login keeps it.
    """
    for n, site in enumerate(sites):
        if site.name.casefold() == user.casefold():
            return n
    without = [n for n, site in enumerate(sites) if site.name not in passwords]
    hosts = [n for n in without if sites[n].host.casefold().removesuffix(".") == user.casefold()]
    if hosts:
        return hosts[0]
    for sign in ([site.host.partition(".")[0] for site in sites], [site.user for site in sites]):
        having = [n for n, text in enumerate(sign) if text.casefold() == user.casefold()]
        if len(having) == 1 and having[0] in without:
            return having[0]
    return None


def _reader(user: str, archives: list[str]) -> Site:
    return Site(name=user, host=user, user=_NOBODY, push=PushKind.NONE, archives=tuple(archives))


def _with_reads(
    site: Site, reads: list[str], offer_of: Mapping[str, ExportedModule], said: list[str]
) -> Site:
    said += (
        f"{offer_of[name].place}: {site.name} is pushed for {name}, so it can read it now; rsync denied it"
        for name in site.archives
        if name in offer_of and offer_of[name].rules and name not in reads
    )
    further = tuple(name for name in reads if name not in site.archives)
    return site.model_copy(update={"reads": further})
