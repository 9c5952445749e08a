"""The modules of an rsyncd.conf as archives: a module's path is a tree, whoever fetches it. Pure.

Guaranteed: what was read as `host::module` is read so from our daemon, or a warning says that it is not; an
archive without a module is offered to nobody, where there is an rsyncd.conf.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from pushmirror.config.importing.offered import Offer
from pushmirror.config.legacy.names import NAME, free_name, reason
from pushmirror.config.model import Access, Archive


def offered_as(
    archives: Mapping[str, Archive], offered: Sequence[Offer], said: list[str], *, closed: bool
) -> tuple[dict[str, Archive], dict[str, Offer]]:
    """The archives with what their modules say, and further ones; and the module of each.

    `closed`: what has no module is offered to nobody.
    """
    found = dict(archives)
    offer_of: dict[str, Offer] = {}
    for offer in sorted(offered, key=lambda one: one.module not in archives):  # the best name is the first
        owner = _owner(found, offer, said)
        if owner is None:
            continue
        if owner in offer_of:
            said.append(
                f"{offer.place}: [{offer.module}] is left out, for [{offer_of[owner].module}] has its tree; "
                f"who reads {offer.module} has to read {offer_of[owner].module}"
            )
            continue
        offer_of[owner] = offer
    for name, archive in found.items():
        if name in offer_of:
            offer = offer_of[name]
            module = None if offer.module == name else offer.module
            found[name] = archive.model_copy(update={**offer.keys, "module": module})
        elif closed:
            found[name] = archive.model_copy(update={"access": Access.NONE})
    return found, offer_of


def _owner(archives: dict[str, Archive], offer: Offer, said: list[str]) -> str | None:
    """The archive that has the module's tree, perhaps a new one; none: it cannot be offered."""
    if not NAME.fullmatch(offer.module):
        said.append(
            f"{offer.place}: [{offer.module}] is left out: expected letters, digits and . _ - in its name"
        )
        return None
    tree = Path(os.path.realpath(offer.tree))
    for name, archive in archives.items():
        real = Path(os.path.realpath(archive.path))
        if real == tree:
            return name
        if real.is_relative_to(tree) or tree.is_relative_to(real):
            said.append(
                f"{offer.place}: [{offer.module}] is left out: {offer.tree} and {archive.path}, the tree of "
                f"{name}, lie one in the other"
            )
            return None
    taken = {name.casefold() for name in archives}
    name = offer.module
    if name.casefold() in taken:
        name = free_name(f"{name}-module", lambda one: one.casefold() in taken)
    try:
        archives[name] = Archive(name=name, path=offer.tree)
    except ValidationError as exc:
        said.append(f"{offer.place}: [{offer.module}] is left out: {reason(exc)}")
        return None
    return name
