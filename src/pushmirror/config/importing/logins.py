"""Users of rsync's secrets files as logins of sites: the user that a site logs in as is its name. Pure.

Guaranteed: whoever could read a module goes on reading it with the same user and password, or a warning says
that it cannot. A site that is called otherwise takes its user's name, for nobody but it may log in so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pushmirror.config.importing.offered import Offer
from pushmirror.config.importing.secrets_file import Secrets
from pushmirror.config.legacy.names import NAME
from pushmirror.config.model import PushKind, Site

_NOBODY = "nobody"  # the account of a site that is never woken


def give_logins(
    sites: list[Site], offer_of: Mapping[str, Offer], secrets: Mapping[Path, Secrets], said: list[str]
) -> tuple[list[Site], dict[str, str]]:
    """The sites, with those who only read; and the password of each that has one."""
    known = {site.name.casefold(): site.name for site in sites}
    reads, passwords = _users(offer_of, secrets, known, said)
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
    offer_of: Mapping[str, Offer], secrets: Mapping[Path, Secrets], sites: Mapping[str, str], said: list[str]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The archives that each user may read, and its password; `sites` are names, by the name without case."""
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
    offer_of: Mapping[str, Offer], secrets: Mapping[Path, Secrets]
) -> Iterator[tuple[str, Offer, str, str]]:
    """Archive, module, user and password of all who are let in."""
    for archive, offer in offer_of.items():
        file = secrets.get(offer.secrets) if offer.secrets and offer.rules else None
        for user, password in file.passwords.items() if file else ():
            if offer.lets_in(user):
                yield archive, offer, user, password


def _spelt(
    offer_of: Mapping[str, Offer], secrets: Mapping[Path, Secrets], sites: Mapping[str, str]
) -> dict[str, str]:
    """Of users that differ in case only, the one that counts: that of a site's own name, else the first."""
    known: dict[str, str] = {}
    for _, _, user, _ in _logins(offer_of, secrets):
        if known.setdefault(user.casefold(), user) != user and sites.get(user.casefold()) == user:
            known[user.casefold()] = user
    return known


def _wrong(user: str, known: Mapping[str, str], other_password: bool) -> str:
    if not NAME.fullmatch(user):
        return (
            f"the user {user!a} cannot log in here, where a user is a site's name, of letters, digits and "
            ". _ - only; add a site for it: pushmirror site add"
        )
    if known.get(user.casefold(), user) != user:
        return f"the user {user} cannot log in here: it differs from {known[user.casefold()]} in case only"
    if other_password:
        return f"the user {user} has another password for another module, which counts here for all"
    return ""


def _left_out(told: Collection[str], secrets: Mapping[Path, Secrets]) -> Iterator[str]:
    for file, one in secrets.items():
        for user in one.passwords:
            if user not in told and NAME.fullmatch(user):
                yield f"{file}: the user {user} may read nothing that is imported, and is left out"


def _site_of(user: str, sites: list[Site], passwords: Mapping[str, str]) -> int | None:
    """The site that logs in as this user: the one of this name, in any case, or by a lesser sign.

    Of two users that differ in case only there is one here; nobody takes the login of a site that has one.
    The account and the first label of a host are a sign only where one site alone has them.
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


def _with_reads(site: Site, reads: list[str], offer_of: Mapping[str, Offer], said: list[str]) -> Site:
    said += (
        f"{offer_of[name].place}: {site.name} is pushed for {name}, so it may read it now; rsync kept it out"
        for name in site.archives
        if name in offer_of and offer_of[name].rules and name not in reads
    )
    further = tuple(name for name in reads if name not in site.archives)
    return site.model_copy(update={"reads": further})
