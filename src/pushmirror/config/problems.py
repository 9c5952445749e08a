"""The rules between the parts of a configuration, and the text of its errors.

Every function returns one line per problem; none raises. Guaranteed: no value that could be a password is
in a line.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, combinations, permutations
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pushmirror.config.model import Access, Archive, Site
from pushmirror.config.types import WrongKey, what_is_wrong
from pushmirror.config.upstream_url import MANIFEST_SUFFIX

_EXPECTED = {
    "string_type": "expected text in quotes",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "tuple_type": 'expected a list: ["…"]',
    "path_type": "expected a path in quotes",
    "model_type": "expected a section",
    "too_short": "expected at least one entry",
}
_FEW = 3
_MAY_BE_SECRET = ("password", "secret", "upstream", "database", "options", "proxy")


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The text for an unknown key, with the most similar known one."""
    meant = did_you_mean(key, known)
    return "unknown key" + (meant or f"; known are {', '.join(sorted(known))}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for a prefix or a similar name, else empty."""
    names, wanted = sorted(known), word.lower()
    begun = [name for name in names if wanted and name.lower().startswith(wanted)]
    meant = begun if len(begun) <= _FEW else []
    meant = meant or difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def explain(error: ValidationError, model: type[BaseModel], prefix: str) -> Iterator[str]:
    """One sentence for each error of a validation, beginning with the dotted key."""
    for details in error.errors(include_url=False):
        location = details["loc"]
        key = ".".join(part for part in (prefix, *map(str, location)) if part)
        if details["type"] == "extra_forbidden":
            yield f"{key}: {unknown_key(str(location[-1]), _keys_at(model, location[:-1]))}"
        elif isinstance(wrong := details.get("ctx", {}).get("error"), WrongKey):
            yield f"{key}.{wrong.key}: {wrong.what}" if key else str(wrong)
        elif details["type"] == "missing":
            yield f"{key}: this key is missing"
        else:
            yield f"{key}: {_expected(details)}{_found(key, details)}"


def message(details: ErrorDetails) -> str:
    """The message of our validator without pydantic's prefix; else pydantic's message."""
    return str(details.get("ctx", {}).get("error", details["msg"]))


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        if field and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return [name for name in model.model_fields if location or name != "name" or model.__name__ == "Mirror"]


def _expected(details: ErrorDetails) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "value_error":
        return message(details)
    if kind in {"enum", "literal_error"}:
        return f"expected {context.get('expected')}"
    if kind in {"greater_than_equal", "less_than_equal"}:
        bound = "at least" if kind.startswith("greater") else "at most"
        return f"expected {bound} {context.get('ge', context.get('le'))}"
    return _EXPECTED.get(kind, details["msg"])


def _found(key: str, details: ErrorDetails) -> str:
    value = details["input"]
    if isinstance(value, bool):
        return f", found {str(value).lower()}"
    if any(word in key for word in _MAY_BE_SECRET):
        return "" if isinstance(value, str) else f", found {_kind(value)}"
    if isinstance(value, str):
        return f', found "{value[:80]}"'
    return f", found {value}" if isinstance(value, int | float) else f", found {_kind(value)}"


def _kind(value: object) -> str:
    kinds = {dict: "a section", list: "a list", int: "a number", float: "a number", str: "text"}
    return kinds.get(type(value), f"a {type(value).__name__}")


Sites = Mapping[Path, Site]  # by the file each one is from


def of_archives(file: Path, archives: Mapping[str, Archive], names: Set[str]) -> list[str]:
    """The problems of the main file; `names` are all its archives, also invalid ones."""
    found = chain(
        _same_names(names),
        _same_modules(archives),
        _modules_of_manifests(archives),
        _shared_trees(archives),
        _password_files(archives),
    )
    return [f"{file}: {what}" for what in found]


def of_sites(sites: Sites, names: Set[str]) -> list[str]:
    """The problems of the sites' files; `names` are all archives."""
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
    """Two modules of one name: sites would read the wrong one."""
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
                f"archives.{other}.path: {other_path} and archives.{name}.path {path} are nested, "
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


def unknown_archives(file: Path, wanted: Sequence[str], names: Set[str]) -> Iterator[str]:
    """The unknown archives of a site's file; `names` are all archives."""
    for name in wanted:
        if name not in names:
            meant = did_you_mean(name, names)
            yield f'{file}: archives: found "{name}", expected an archive of pushmirror.toml{meant}'


def _twins(sites: Sites) -> Iterator[str]:
    """Two files for one site, which would be pushed twice.

    Each file is named once, with the first one that it equals.
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
