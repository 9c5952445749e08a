"""What must hold between the parts of a configuration, and of the files it names.

Every function gives one line per broken rule; none raises.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import chain, combinations, permutations
from pathlib import Path

from pushmirror.config.explain import did_you_mean
from pushmirror.config.model import Access, Archive, Site
from pushmirror.config.secrets import what_is_wrong
from pushmirror.config.upstream import MANIFEST_SUFFIX

Sites = Mapping[Path, Site]  # by the file each one is from


def of_archives(file: Path, archives: Mapping[str, Archive], names: Set[str]) -> list[str]:
    """Every broken rule of the main file; `names` are all archives that it names, also broken ones."""
    found = chain(
        _same_names(names),
        _same_modules(archives),
        _modules_of_manifests(archives),
        _shared_trees(archives),
        _password_files(archives),
    )
    return [f"{file}: {what}" for what in found]


def of_sites(sites: Sites, names: Set[str]) -> list[str]:
    """Every broken rule of the sites' files; `names` are all archives there are."""
    return [*chain.from_iterable(_of_site(file, site, names) for file, site in sites.items()), *_twins(sites)]


def _same_names(names: Set[str]) -> Iterator[str]:
    for one, other in combinations(sorted(names), 2):
        if one.casefold() == other.casefold():
            yield f"archives.{other}: expected a name that differs in more than case from {one}"


def _same_modules(archives: Mapping[str, Archive]) -> Iterator[str]:
    offered = [archive for archive in archives.values() if archive.access is not Access.NONE]
    for one, other in combinations(offered, 2):
        named = one.module or other.module  # else it is their names that are the same
        if named and one.module_name.casefold() == other.module_name.casefold():
            yield (
                f'archives.{other.name}.module: found "{other.module_name}", the module of '
                f"archives.{one.name}, expected another"
            )


def _modules_of_manifests(archives: Mapping[str, Archive]) -> Iterator[str]:
    """Two modules of one name are one to rsync: sites would not read there what they expect."""
    offered = [archive for archive in archives.values() if archive.access is not Access.NONE]
    for one, other in permutations(offered, 2):
        beside = f"{one.module_name}{MANIFEST_SUFFIX}"
        if one.manifest and other.module_name.casefold() == beside.casefold():
            yield (
                f'archives.{other.name}.module: found "{other.module_name}", the module of the manifest of '
                f"archives.{one.name}, expected another, or manifest = false there"
            )


def _shared_trees(archives: Mapping[str, Archive]) -> Iterator[str]:
    real = {name: Path(os.path.realpath(archive.path)) for name, archive in archives.items()}
    for (name, path), (other, other_path) in combinations(real.items(), 2):
        if path == other_path:
            yield f"archives.{other}.path: found {path}, the tree of archives.{name}, expected another"
        elif path.is_relative_to(other_path) or other_path.is_relative_to(path):
            yield (
                f"archives.{other}.path: {other_path} and archives.{name}.path {path} lie one in the other, "
                "expected separate trees"
            )


def _password_files(archives: Mapping[str, Archive]) -> Iterator[str]:
    for name, archive in archives.items():
        if archive.password_file and (wrong := what_is_wrong(archive.password_file)):
            yield f"archives.{name}.password_file: {wrong}"


def _of_site(file: Path, site: Site, names: Set[str]) -> Iterator[str]:
    yield from unknown_archives(file, (*site.archives, *site.reads), names)
    if site.main_archive and site.main_archive not in site.archives:
        yield f'{file}: main_archive: found "{site.main_archive}", expected one of its archives'
    for name in sorted(site.archive_names.keys() - {*site.archives}):
        yield f'{file}: archive_names: found "{name}", expected one of its archives'
    if len({*site.archives, *site.reads}) < len(site.archives) + len(site.reads):
        yield f"{file}: archives and reads: expected each archive once"


def unknown_archives(file: Path, told: Sequence[str], names: Set[str]) -> Iterator[str]:
    """The archives of a site's file that are none; `names` are all archives there are."""
    for name in told:
        if name not in names:
            meant = did_you_mean(name, names)
            yield f'{file}: archives: found "{name}", expected an archive of pushmirror.toml{meant}'


def _twins(sites: Sites) -> Iterator[str]:
    """Two files for one site would push it twice, and its runs would get in each other's way.

    Each file is complained of once, beside the first that it is like.
    """
    names: dict[str, Path] = {}
    logins: dict[tuple[str, str, int, str], Path] = {}
    for file, site in sites.items():
        if (first := names.setdefault(site.name.casefold(), file)) is not file:
            yield f"{file}: expected a name that differs in more than case from {first.name}"
        firsts = [logins.setdefault((*_login(site), archive), file) for archive in site.archives]
        if twins := [first for first in firsts if first is not file]:
            yield f"{file}: duplicate site: {twins[0].name} has this host, user, port and archive too"


def _login(site: Site) -> tuple[str, str, int]:
    return site.host.casefold().removesuffix("."), site.user, site.port or 22
