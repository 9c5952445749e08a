"""Several files of archvsync and an rsyncd.conf as one configuration. Pure, but for links in trees' paths.

    ftpsync*.conf ──▶ [mirror], [archives] ──┐
    rsyncd.conf ────▶ modules, [serve] ──────┼──▶ Merged: Config, logins, passwords, warnings
    runmirrors* ────▶ [push], sites ─────────┤
    secrets ────────▶ logins of sites ───────┘

Guaranteed: every site gets the trigger words that runmirrors sends it, and every user can read the same
modules; any exception is a warning. An archive's name is the one in triggers, its module the one that sites
read; the two may differ.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from pushmirror.archvsync_config.places import reason
from pushmirror.archvsync_config.values import Ftpsync, Runmirrors
from pushmirror.config.model import Access, Archive, Config, Hooks, Mirror, Push, PushKind, Serve, Site
from pushmirror.errors import ConfigError
from pushmirror.importing.rsyncd_conf import Rsyncd, Secrets
from pushmirror.importing.rsyncd_modules import ExportedModule, offered_as, offers, serve
from pushmirror.importing.sites import Lines, give_logins, sites_of

_MAIN = "debian"  # an owner's archive without a name in any file


@dataclass(frozen=True, slots=True)
class ImportedFiles:
    """Everything that was read, each with its file; the main archive's first."""

    ftpsyncs: tuple[tuple[str, Ftpsync], ...] = ()
    runmirrors: tuple[tuple[str, str, Runmirrors], ...] = ()  # places of the .conf and of the .mirror
    rsyncd: Rsyncd | None = None
    secrets: Mapping[Path, Secrets] = field(default_factory=dict)
    trees: Mapping[str, Path] = field(default_factory=dict)  # that the operator names, by archive
    #: Variables that a file sets itself, without the scripts' defaults.
    variables: Mapping[str, Collection[str]] = field(default_factory=dict)

    def sets(self, place: str, variable: str) -> bool:
        """Whether this file sets the variable itself."""
        return variable in self.variables.get(place, ())


@dataclass(frozen=True, slots=True)
class Merged:
    """One configuration, and warnings and secrets beside it."""

    config: Config
    logins: Mapping[str, str] = field(repr=False)  # by site, whose user has its name: the password
    passwords: Mapping[Path, str] = field(repr=False)  # for upstreams, by file
    warnings: tuple[str, ...] = ()


def merge(imported: ImportedFiles) -> Merged:
    """The configuration that is equivalent to these files.

    Raises ConfigError if they contradict each other, or lack something that has no default.
    """
    offered, warnings = offers(imported.rsyncd) if imported.rsyncd else ((), ())
    said = [*warnings]
    archives = dict(_fetched(imported, said))
    lines = list(_pushed(imported, archives, offered, said))
    archives, offer_of = offered_as(archives, offered, said, closed=imported.rsyncd is not None)
    sites = sites_of(lines, said)
    sites, logins = give_logins(sites, offer_of, imported.secrets, said)
    said += _loose_ends(imported, archives, sites, logins)
    config = Config(
        mirror=_mirror(imported, said),
        archives=archives,
        push=_push(lines, said),
        serve=_serve(imported, said),
        sites={site.name: site for site in sites},
    )
    return Merged(config, logins, _passwords(imported), tuple(dict.fromkeys(said)))


# -- archives -----------------------------------------------------------------------------------------


def _fetched(imported: ImportedFiles, said: list[str]) -> Iterator[tuple[str, Archive]]:
    """The archives that an ftpsync.conf fetches."""
    trees: dict[str, Path] = {}
    for place, ftpsync in imported.ftpsyncs:
        archive = ftpsync.archive
        said += (f"{place}: {warning}" for warning in ftpsync.warnings)
        for name, tree in trees.items():
            if name.casefold() == archive.name.casefold():
                raise ConfigError(
                    f"{place}: another archive is already called {archive.name}",
                    hint="import only one of them, and add the other's section by hand under another name",
                )
            if overlap(archive.path, tree):
                raise ConfigError(
                    f"{place}: TO: found {archive.path}, which lies in or around {tree}, the tree of {name}",
                    hint="each archive needs a tree of its own: correct TO, or import one of the two",
                )
        trees[archive.name] = archive.path
        yield archive.name, _without_idle_hooks(archive)


def _without_idle_hooks(archive: Archive) -> Archive:
    """Reset options of hooks for an archive without hooks, so that it compares equal to others."""
    points = ("before_sync", "after_stage1", "after_publish", "before_push", "after_push")
    any_hook = any(getattr(archive.hooks, point) for point in points)
    return archive if any_hook else archive.model_copy(update={"hooks": Hooks()})


def _pushed(
    imported: ImportedFiles,
    archives: dict[str, Archive],
    offered: tuple[ExportedModule, ...],
    said: list[str],
) -> Iterator[Lines]:
    """The lines of each runmirrors; an archive that no ftpsync.conf fetches is added, as its owner's."""
    for name, path in imported.trees.items():
        if name in archives:
            raise ConfigError(
                f"--tree {name}: an ftpsync.conf has this archive's tree, {archives[name].path}"
            )
        archives[name] = Archive(name=name, path=path)
    for place, mirror, runmirrors in imported.runmirrors:
        said += (f"{place}: {warning}" for warning in runmirrors.warnings)
        said += (f"{mirror}: {warning}" for warning in runmirrors.mirror_warnings)
        if not runmirrors.lines:
            said.append(f"{mirror} names no mirror, so {place} is left out")
            continue
        name = _archive_of(imported, runmirrors, offered)
        if name not in archives:
            archives[name] = _owners(place, name, _tree_of_owner(place, name, offered))
        archives[name] = _with_hooks(archives[name], place, runmirrors, said)
        yield Lines(place, mirror, name, runmirrors, has_ssh_opts=imported.sets(place, "SSH_OPTS"))


def _archive_of(imported: ImportedFiles, runmirrors: Runmirrors, offered: tuple[ExportedModule, ...]) -> str:
    """The archive of ours that it pushes: that of the ftpsync which calls it."""
    suffix = runmirrors.name.partition("-")[2]
    for _, ftpsync in imported.ftpsyncs:
        if ftpsync.name.partition("-")[2] == suffix:
            return ftpsync.archive.name
    named = [*imported.trees] or [offer.module for offer in offered]
    return suffix or runmirrors.archive or (named[0] if len(named) == 1 else _MAIN)


def _tree_of_owner(place: str, name: str, offered: tuple[ExportedModule, ...]) -> Path:
    for offer in offered:
        if offer.module.casefold() == name.casefold():
            return offer.tree
    raise ConfigError(
        f"{place}: there is neither an ftpsync.conf nor a module of an rsyncd.conf for its archive {name}",
        hint=f"give those files, too, or its tree: --tree {name}=/srv/{name}",
    )


def _owners(place: str, name: str, tree: Path) -> Archive:
    try:
        return Archive(name=name, path=tree)
    except ValidationError as exc:
        raise ConfigError(
            f"{place}: invalid archive {name!r} in {str(tree)!r}: {reason(exc)}",
            hint="give its archive: --tree NAME=PATH",
        ) from exc


def _with_hooks(archive: Archive, place: str, runmirrors: Runmirrors, said: list[str]) -> Archive:
    """Add runmirrors' HOOK1 and HOOK3 before and after a push, unless ftpsync's HOOK4 and HOOK5 are there."""
    before, between, after = (*runmirrors.hooks, (), (), ())[:3]
    hooks = archive.hooks
    taken: dict[str, object] = {}
    for number, key, words in ((1, "before_push", before), (3, "after_push", after)):
        if words and getattr(hooks, key):
            said.append(f"{place}: HOOK{number} is left out: ftpsync's hook is {key} of {archive.name}")
        elif words:
            taken[key] = words
    if between:
        said.append(f"{place}: HOOK2 is left out: there is no hook between two sites")
    if not taken:
        return archive
    made = Hooks.model_validate({**dict(hooks), "inherit_environment": True, **taken})
    return archive.model_copy(update={"hooks": made})


def overlap(one: Path, other: Path) -> bool:
    """Whether one of two trees is the other, or is inside it."""
    real, other_real = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    return real.is_relative_to(other_real) or other_real.is_relative_to(real)


# -- sections -----------------------------------------------------------------------------------------


def _mirror(imported: ImportedFiles, said: list[str]) -> Mirror:
    if not imported.ftpsyncs:
        return Mirror()
    first_place, first = imported.ftpsyncs[0]
    for place, ftpsync in imported.ftpsyncs[1:]:
        if ftpsync.mirror.name != first.mirror.name:
            raise ConfigError(
                f"{place}: MIRRORNAME: found {ftpsync.mirror.name}, expected {first.mirror.name} as in "
                f"{first_place}: one pushmirror.toml is of one mirror",
                hint="correct it, or import the two into directories of their own (--to)",
            )
        said += (
            f"{place}: {key} of the trace differs from {first_place}, which is used"
            for key, value in ftpsync.mirror
            if value != getattr(first.mirror, key)
        )
    return first.mirror


def _push(lines: list[Lines], said: list[str]) -> Push:
    if not lines:
        return Push()
    first = lines[0]
    said += (
        f"{other.place}: PUSHDELAY differs from {first.place}, which is used"
        for other in lines[1:]
        if other.runmirrors.push.deadline != first.runmirrors.push.deadline
    )
    return first.runmirrors.push


def _serve(imported: ImportedFiles, said: list[str]) -> Serve:
    if imported.rsyncd is None:
        return Serve()
    keys, warnings = serve(imported.rsyncd)
    said += [*imported.rsyncd.warnings, *warnings]
    return Serve.model_validate(keys)


def _passwords(imported: ImportedFiles) -> dict[Path, str]:
    return {
        ftpsync.archive.password_file: ftpsync.password
        for _, ftpsync in imported.ftpsyncs
        if ftpsync.password and ftpsync.archive.password_file
    }


# -- what is left -------------------------------------------------------------------------------------


def _loose_ends(
    imported: ImportedFiles, archives: Mapping[str, Archive], sites: list[Site], logins: Mapping[str, str]
) -> Iterator[str]:
    woken = [site for site in sites if site.push is not PushKind.NONE]
    pushed = {name for site in woken for name in site.archives}
    yield from _main(imported, archives)
    yield from _hubs(imported, pushed)
    yield from _mails(imported)
    for secrets in imported.secrets.values():
        yield from secrets.warnings
    if woken and imported.rsyncd is None:
        yield "no rsyncd.conf was found: give its path, or create passwords: pushmirror site rotate NAME"
        return
    for site in woken:
        asked = [name for name in site.archives if archives[name].access is Access.SITES]
        if asked and site.name not in logins and not _reads_by_another(site, sites, logins):
            yield (
                f"site {site.name} has no password for {', '.join(asked)}: pushmirror site rotate {site.name}"
            )
        for name in site.archives:
            if archives[name].access is Access.NONE:
                yield f"site {site.name} is pushed for {name}, which no rsync module serves"


def _reads_by_another(site: Site, sites: list[Site], logins: Mapping[str, str]) -> bool:
    """Whether the same machine has a login as another site that reads the same."""
    return any(
        other.name in logins
        and other.host.casefold() == site.host.casefold()
        and {*site.archives} <= {*other.archives, *other.reads}
        for other in sites
    )


def _main(imported: ImportedFiles, archives: Mapping[str, Archive]) -> Iterator[str]:
    """The main archive: a trigger without an archive means `debian` if there is one (cli/receive.py)."""
    for place, ftpsync in imported.ftpsyncs[:1]:
        if ftpsync.name == "ftpsync" and ftpsync.archive.name != _MAIN and _MAIN in archives:
            yield (
                f"{place}: a push that names no archive is for {_MAIN} here, not for {ftpsync.archive.name}: "
                f"add sync:archive:{ftpsync.archive.name} to the command of its line in authorized_keys"
            )


def _hubs(imported: ImportedFiles, pushed: set[str]) -> Iterator[str]:
    for place, ftpsync in imported.ftpsyncs:
        name = ftpsync.archive.name
        if ftpsync.is_hub and name not in pushed:
            yield f"{place}: HUB=true, but no runmirrors.mirror with sites of {name} was found: add its path"
        elif not ftpsync.is_hub and name in pushed:
            yield (
                f"{place}: HUB is not true, but a runmirrors.mirror has sites of {name}: they are pushed "
                "after every sync now; prevent it with sync --no-push or `pushmirror site pause`"
            )


def _mails(imported: ImportedFiles) -> Iterator[str]:
    places: dict[str, list[str]] = {}
    mails = [(place, ftpsync.mail) for place, ftpsync in imported.ftpsyncs]
    mails += [(place, runmirrors.mail) for place, _, runmirrors in imported.runmirrors]
    for place, mail in mails:
        if imported.sets(place, "MAILTO"):
            places.setdefault(", ".join(mail.to), []).append(place)
    for addresses, found in places.items():
        if addresses:
            yield (
                f"{', '.join(found)}: MAILTO: pushmirror sends no mail to {addresses}; have a monitoring "
                "system, or cron, call `pushmirror status --exit-code`"
            )
