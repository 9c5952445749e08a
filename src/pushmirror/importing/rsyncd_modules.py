"""Translate an rsyncd.conf: modules to archives and their access, other parameters to [serve]. Pure.

A module's path is a tree, whoever fetches it. Guaranteed: nobody gets access whom rsync refused, except by
`hosts deny` and `@group` rules, which a warning names; a module is closed if it is unknown whom rsync
admitted, or what it hid of an open tree, and so is an archive without a module. What was read as
`host::module` is read so from our daemon, or a warning says that it is not. A parameter without a counterpart
is a warning with file and line that says what to do, unless pushmirror's daemon handles it by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import ValidationError

from pushmirror.archvsync_config.checked import number
from pushmirror.archvsync_config.places import NAME, free_name, reason
from pushmirror.config.model import Access, Archive, Serve
from pushmirror.config.problems import message
from pushmirror.importing.rsyncd_conf import Module, Parameter, Rsyncd, key

_TRUE = {"yes", "true", "1"}
_WHO = ("authusers", "hostsallow", "hostsdeny")  # parameters that decide who may read
_HIDING = ("exclude", "excludefrom", "filter")  # parameters that decide what of a tree is visible
_OPEN_RULES = ("ro", "rw", "deny")
_HIDDEN = {".~tmp~", ".~tmp~/", ".~tmp~/***", ".~tmp~/*"}
_EVERYBODY = {"*", "all", "0.0.0.0/0", "::/0"}
_USED = {"path", "comment", "authusers", "secretsfile", "hostsallow", "hostsdeny"}
#: Settings of the whole daemon here; in rsync those of the second line are per module.
_OF_SERVE = {"port", "address", "authdigest"}
_OF_SERVE_TOO = {"maxconnections", "uid", "gid", "timeout", "refuseoptions"}
#: Parameters that our daemon handles by itself.
_OWN_WAY = {
    *("pidfile", "lockfile", "logfile", "logformat", "transferlogging", "syslogfacility", "syslogtag"),
    *("socketoptions", "usechroot", "mungesymlinks", "numericids", "strictmodes", "listenbacklog"),
    *("reverselookup", "forwardlookup", "maxverbosity", "dontcompress", "opennoatime", "daemonuid"),
    *("daemongid", "nameconverter", "outgoingchmod", "incomingchmod", "tempdir", "ignoreerrors"),
}
#: Per parameter without a counterpart: a value that changes nothing, and what its absence means.
_WITHOUT = {
    "readonly": (_TRUE, "pushmirror's daemon is read-only: uploads need another daemon"),
    "writeonly": ({"no", "false", "0"}, "pushmirror's daemon is read-only"),
    "list": (_TRUE, "every module is listed; access to the tree does not change"),
    "exclude": (_HIDDEN, "the whole tree is served: move files away that must not be read"),
    "excludefrom": (set(), "the whole tree is served: move files away that must not be read"),
    "include": (set(), "the whole tree is served"),
    "includefrom": (set(), "the whole tree is served"),
    "filter": (set(), "the whole tree is served: move files away that must not be read"),
    "motdfile": (set(), "there is no greeting"),
    "earlyexec": (set(), "no program is run for a connection"),
    "pre-xferexec": (set(), "no program is run for a connection"),
    "post-xferexec": (set(), "no program is run for a connection; the transfer log lists each file"),
    "proxyprotocol": (set(), "let the proxy forward plain connections, or use serve's own TLS"),
    "proxyprotocolhosts": (set(), "let the proxy forward plain connections, or use serve's own TLS"),
}


@dataclass(frozen=True, slots=True)
class ExportedModule:
    """A module, as an archive exports it."""

    module: str
    tree: Path
    place: str
    keys: Mapping[str, object]  # of the archive: access, hosts_allow, comment
    secrets: Path | None
    rules: tuple[str, ...]  # of `auth users`; None: everybody may read

    def lets_in(self, user: str) -> bool:
        """Whether the first rule that matches this user admits it."""
        for rule in self.rules:
            pattern, _, option = rule.partition(":")
            if pattern.startswith("@") and option == "deny":
                return False  # perhaps: only the daemon's machine knows who is in the group
            if not pattern.startswith("@") and fnmatchcase(user, pattern):
                return option != "deny"
        return False


def offers(rsyncd: Rsyncd) -> tuple[tuple[ExportedModule, ...], tuple[str, ...]]:
    """Every module that can be exported, and warnings."""
    warnings: list[str] = []
    found = [_offer(module, warnings) for module in rsyncd.modules]
    warnings += _without_counterpart(rsyncd)
    return tuple(offer for offer in found if offer), tuple(warnings)


def serve(rsyncd: Rsyncd) -> tuple[dict[str, object], tuple[str, ...]]:
    """Keys of [serve], and warnings."""
    warnings: list[str] = []
    keys: dict[str, object] = {}
    settings = rsyncd.settings
    port, address = _known(settings.get("port")), _known(settings.get("address"))
    if port or address:
        host = address.value if address else "[::]"
        bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
        _take(keys, "rsync", f"{bracketed}:{port.value if port else 873}", port or address, warnings)
    if digest := _known(settings.get("authdigest")):
        _take(keys, "auth_digest", digest.value, digest, warnings)
    for name in ("uid", "gid"):
        if found := _common(rsyncd, name, warnings):
            _take(keys, name, found.value, found, warnings)
    if found := _common(rsyncd, "timeout", warnings):
        if seconds := number(found.value, least=1):
            _take(keys, "timeout", timedelta(seconds=seconds), found, warnings)
        else:
            warnings.append(
                f"{found.place}: {found.name}: pushmirror always has an idle limit for connections"
            )
    if found := _common(rsyncd, "refuseoptions", warnings):
        _take(keys, "refuse_options", tuple(_words(found.value)), found, warnings)
    if found := _common(rsyncd, "maxconnections", warnings):
        if most := number(found.value, least=1):
            _take(keys, "max_connections", most, found, warnings)
        else:
            warnings.append(
                f"{found.place}: {found.name}: pushmirror always has a limit; the default is used"
            )
    return keys, tuple(warnings)


def _take(
    keys: dict[str, object], name: str, value: object, source: Parameter | None, warnings: list[str]
) -> None:
    try:
        Serve.model_validate({name: value})
    except ValidationError as exc:
        assert source
        what = message(exc.errors(include_url=False)[0])
        warnings.append(f'{source.place}: {source.name} = "{source.value}" cannot be imported: {what}')
    else:
        keys[name] = value


def _common(rsyncd: Rsyncd, name: str, warnings: list[str]) -> Parameter | None:
    """The value of a per-module parameter that most modules have."""
    bracketed = (module.parameters.get(name) for module in rsyncd.modules if not _is_disabled(module))
    found = [parameter for one in bracketed if (parameter := _known(one))]
    if not found:
        return _known(rsyncd.settings.get(name))
    values = [parameter.value for parameter in found]
    most = max(values, key=values.count)  # the first of those
    warnings += (
        f"{one.place}: {one.name} = {one.value} differs between modules; all of ours have {most}"
        for one in found
        if one.value != most
    )
    return found[values.index(most)]


def _known(parameter: Parameter | None) -> Parameter | None:
    """A parameter whose value does not depend on rsync's environment."""
    return parameter if parameter and not parameter.variable else None


def _offer(module: Module, warnings: list[str]) -> ExportedModule | None:
    bracketed = module.get("path")
    path = Path(os.path.normpath(bracketed)) if bracketed else Path()
    if not path.is_absolute():
        warnings.append(f"{module.place}: [{module.name}] has no absolute path; rsync does not serve it")
        return None
    keys: dict[str, object] = {"access": Access.SITES if module.get("authusers") else Access.OPEN}
    _keep(keys, "comment", module.get("comment"), module, warnings)
    keys |= _who_may_connect(module, warnings)
    rules = tuple(_words(module.get("authusers")))
    warnings += _of_rules(module, rules)
    if why := _closed(module, keys):
        keys["access"] = Access.NONE
        warnings.append(f"{module.place}: [{module.name}] is not served: {why}")
    if _is_write_only(module):
        rules = ()  # its users never read anything
    secrets = module.get("secretsfile")
    return ExportedModule(module.name, path, module.place, keys, Path(secrets) if secrets else None, rules)


def _closed(module: Module, keys: Mapping[str, object]) -> str:
    """Why a module is closed until the operator decides; empty: it is as open as it was."""
    for name in _WHO:
        if (found := module.parameters.get(name)) and found.variable:
            return (
                f"access depends on {found.variable} in {found.name}; set access and hosts_allow "
                "of the archive"
            )
    if _is_write_only(module):
        return "it is write only; uploads need another daemon"
    if _is_disabled(module):
        return "max connections is below 0; to serve it, set access of the archive"
    hiding = [name for name in _HIDING if name in module.parameters and _hides(module.parameters[name])]
    if hiding and keys["access"] is Access.OPEN:
        found = module.parameters[hiding[0]]
        return (
            f"everybody can read it, and {found.name} hides a part, which pushmirror cannot hide; move that "
            'away, and set access = "open" of the archive'
        )
    return ""


def _is_write_only(module: Module) -> bool:
    return module.get("writeonly").casefold() in _TRUE


def _is_disabled(module: Module) -> bool:
    """By rsyncd.conf(5), "a negative value disables the module"."""
    return module.get("maxconnections").startswith("-")


def _hides(parameter: Parameter) -> bool:
    return bool(parameter.variable) or not {*_words(parameter.value)} <= _HIDDEN


def _who_may_connect(module: Module, warnings: list[str]) -> dict[str, object]:
    """As for rsync: with both lists, hosts on neither of them are admitted."""
    allowed, denied = _words(module.get("hostsallow")), _words(module.get("hostsdeny").casefold())
    everybody = bool(_EVERYBODY & {*denied})
    if denied and not (everybody and allowed):
        place = module.parameters["hostsdeny"].place
        warnings.append(f"{place}: hosts deny has no counterpart: set hosts_allow of the archive")
        return {"access": Access.NONE} if everybody else {}
    fit = [peer for peer in allowed if _fits("hosts_allow", (peer,))]
    warnings += (
        f'{module.place}: hosts allow: "{peer}" cannot be imported; give its addresses'
        for peer in allowed
        if peer not in fit
    )
    if allowed and not fit:  # an empty list would admit everybody
        warnings.append(f"{module.place}: [{module.name}] is not served until hosts_allow is corrected")
        return {"access": Access.NONE}
    return {"hosts_allow": tuple(fit)} if fit else {}


def _keep(keys: dict[str, object], name: str, value: str, module: Module, warnings: list[str]) -> None:
    if value and _fits(name, value):
        keys[name] = value
    elif value:
        warnings.append(f"{module.place}: {name} of [{module.name}] cannot be imported")


def _fits(name: str, value: object) -> bool:
    try:
        Archive.model_validate({"name": "a", "path": "/tree", name: value})
    except ValidationError:
        return False
    return True


def _of_rules(module: Module, rules: Sequence[str]) -> Iterator[str]:
    if not rules:
        return
    place = module.parameters["authusers"].place
    for rule in rules:
        pattern, _, option = rule.partition(":")
        if pattern.startswith("@"):
            yield f"{place}: auth users: {rule} is a group, which has no counterpart: list the sites' users"
        elif option == "rw":
            yield f"{place}: auth users: {pattern} can only read: pushmirror's daemon is read-only"
        elif option not in {"", *_OPEN_RULES}:
            yield f'{place}: auth users: "{rule}" is not a valid rule'
    if not module.get("secretsfile"):
        yield f"{place}: [{module.name}] has auth users but no secrets file: nobody can log in"


def _words(value: str) -> list[str]:
    """Split a list as rsync does: at blanks and commas; only at commas if it begins with one."""
    words = value.split(",") if value.startswith(",") else value.replace(",", " ").split()
    return [word.strip() for word in words if word.strip()]


def _without_counterpart(rsyncd: Rsyncd) -> Iterator[str]:
    """One warning for each line, also when several modules inherit it."""
    bracketed: set[str] = set()
    everywhere = (rsyncd.settings, *(module.parameters for module in rsyncd.modules))
    for name, parameter in (pair for parameters in everywhere for pair in parameters.items()):
        if parameter.place in bracketed or name in _USED | _OF_SERVE | _OF_SERVE_TOO | _OWN_WAY:
            continue
        harmless, todo = _WITHOUT.get(name, (set(), "it has no counterpart"))
        values = set(_words(parameter.value.casefold()))
        if not parameter.variable and (not harmless or values - harmless):
            bracketed.add(parameter.place)
            yield f"{parameter.place}: {parameter.name} = {parameter.value[:80]}: {todo}"


assert all(name == key(name) for name in (*_USED, *_OF_SERVE, *_OF_SERVE_TOO, *_OWN_WAY, *_WITHOUT))


def offered_as(
    archives: Mapping[str, Archive], offered: Sequence[ExportedModule], said: list[str], *, closed: bool
) -> tuple[dict[str, Archive], dict[str, ExportedModule]]:
    """The archives with the access of their modules, and further archives; and the module of each.

    `closed`: an archive without a module is exported to nobody.
    """
    found = dict(archives)
    offer_of: dict[str, ExportedModule] = {}
    for offer in sorted(offered, key=lambda one: one.module not in archives):  # the best name is the first
        owner = _owner(found, offer, said)
        if owner is None:
            continue
        if owner in offer_of:
            said.append(
                f"{offer.place}: [{offer.module}] is left out: [{offer_of[owner].module}] has its tree; "
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


def _owner(archives: dict[str, Archive], offer: ExportedModule, said: list[str]) -> str | None:
    """The archive with the module's tree, perhaps a new one; None: it cannot be exported."""
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
                f"{name}, are nested"
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
