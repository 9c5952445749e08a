"""Users of rsync's secrets files as logins of sites: the user that a site logs in as is its name. Pure.

Guaranteed: whoever could read a module goes on reading it with the same user and password, or a warning says
that it cannot. A site that is called otherwise takes its user's name, for nobody but it may log in so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pushmirror.config.legacy.offered import Offer
from pushmirror.config.legacy.secrets_file import Secrets
from pushmirror.config.model import PushKind, Site

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_NOBODY = "nobody"  # the account of a site that is never woken


def give_logins(
    sites: list[Site], offer_of: Mapping[str, Offer], secrets: Mapping[Path, Secrets], said: list[str]
) -> tuple[list[Site], dict[str, str]]:
    """The sites, with those who only read; and the password of each that has one."""
    reads, passwords = _users(offer_of, secrets, said)
    said += _left_out(reads, secrets)
    names = {name: n for n, name in enumerate(site.name for site in sites)}
    found, renamed = [*sites], []
    for user in sorted(passwords, key=lambda one: one not in names):  # the same name is the surest sign
        at = _site_of(user, found, passwords)
        if at is None:
            found.append(_reader(user, reads[user]))
            continue
        site = found[at]
        if site.name != user:
            renamed.append(f"{site.name} is {user}")
        found[at] = _with_reads(site.model_copy(update={"name": user}), reads[user], offer_of, said)
    if renamed:
        said.append(f"sites are called as their users of the rsync daemon here: {', '.join(renamed)}")
    return found, passwords


def _users(
    offer_of: Mapping[str, Offer], secrets: Mapping[Path, Secrets], said: list[str]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The archives that each user may read, and its password."""
    reads: dict[str, list[str]] = {}
    passwords: dict[str, str] = {}
    known: dict[str, str] = {}  # user without case -> user
    for archive, offer in offer_of.items():
        file = secrets.get(offer.secrets) if offer.secrets and offer.rules else None
        for user, password in file.passwords.items() if file else ():
            if not offer.lets_in(user):
                continue
            if wrong := _wrong(user, known, passwords.get(user, password) != password):
                said.append(f"{offer.secrets}: {wrong}")
                continue
            known[user.casefold()] = user
            passwords[user] = password
            reads.setdefault(user, []).append(archive)
    return reads, passwords


def _wrong(user: str, known: Mapping[str, str], other_password: bool) -> str:
    if not _NAME.fullmatch(user):
        return (
            f"the user {user!a} cannot log in here, where a user is a site's name, of letters, digits and "
            ". _ - only; add a site for it: pushmirror site add"
        )
    if known.get(user.casefold(), user) != user:
        return f"the user {user} cannot log in here: it differs from {known[user.casefold()]} in case only"
    if other_password:
        return f"the user {user} has another password for another module, which counts here for all"
    return ""


def _left_out(reads: Mapping[str, object], secrets: Mapping[Path, Secrets]) -> Iterator[str]:
    for file, one in secrets.items():
        for user in one.passwords:
            if user not in reads and _NAME.fullmatch(user):
                yield f"{file}: the user {user} may read nothing that is imported, and is left out"


def _site_of(user: str, sites: list[Site], passwords: Mapping[str, str]) -> int | None:
    """The site that logs in as this user: the one of this name, or one with this host and no login."""
    for n, site in enumerate(sites):
        if site.name == user:
            return n
    taken = any(site.name.casefold() == user.casefold() for site in sites)
    for n, site in enumerate(sites):
        same_host = site.host.casefold().removesuffix(".") == user.casefold()
        if same_host and not taken and site.name not in passwords:
            return n
    return None


def _reader(user: str, archives: list[str]) -> Site:
    return Site(name=user, host=user, user=_NOBODY, push=PushKind.NONE, archives=tuple(archives))


def _with_reads(site: Site, reads: list[str], offer_of: Mapping[str, Offer], said: list[str]) -> Site:
    said += (
        f"{offer_of[name].place}: {site.name} is pushed for {name}, so it may read it now; rsync kept it out"
        for name in site.archives
        if name in offer_of and offer_of[name].rules and name not in reads
    )
    further = tuple(name for name in reads if name not in site.archives)
    return site.model_copy(update={"reads": further})
