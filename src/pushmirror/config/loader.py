"""Read `pushmirror.toml` and `sites.d/*.toml` into a Config.

Guaranteed: a returned Config is valid; otherwise one ConfigError names every problem, each on a line with
file, key, what was found and what was expected. Not the business of this module: whether programs, trees
and upstream are usable (`pushmirror check`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pushmirror.config import model
from pushmirror.config.problems import explain, of_archives, of_sites, unknown_archives, unknown_key
from pushmirror.config.types import absolute
from pushmirror.errors import ConfigError

FILE_NAME = "pushmirror.toml"
SITES = "sites.d"
_SECTIONS: dict[str, type[model.Values]] = {
    "mirror": model.Mirror,
    "push": model.Push,
    "serve": model.Serve,
    "state": model.State,
}
_KEYS = ("archives", *_SECTIONS)

Section = TypeVar("Section", bound=model.Values)
Table = dict[str, Any]


def load(
    path: Path | None = None, *, on_broken_sites: Callable[[ConfigError], None] | None = None
) -> model.Config:
    """Load the configuration at `path` (a directory or the file), or at the first usual place that has one.

    Raises ConfigError with every problem. With `on_broken_sites`, problems of the sites' files alone are
    passed to it instead, and the configuration has no sites: the mirror continues to sync.
    """
    file = find(path)
    problems, site_problems = Problems(), Problems()
    main = problems.read(file) or {}
    for key in main.keys() - _KEYS:
        problems.add(file, f"{key}: {unknown_key(key, _KEYS)}")
    sections = {
        key: problems.section(file, key, kind, main[key]) for key, kind in _SECTIONS.items() if key in main
    }
    archives = dict(_archives(file, main.get("archives", {}), problems))
    names = {*archives, *_names(main.get("archives"))}
    problems.found += of_archives(file, archives, names)
    sites = dict(_sites(file.parent / SITES, names, site_problems))
    site_problems.found += of_sites(sites, names)
    if on_broken_sites and site_problems.found and not problems.found:
        on_broken_sites(ConfigError("\n".join(site_problems.found)))
        sites = {}  # none rather than some: a push would take these for all sites
    else:
        problems.found += site_problems.found
    problems.raise_if_any(file)
    return model.Config(
        archives=archives,
        sites={site.name: site for site in sites.values()},
        source=file,
        **{key: value for key, value in sections.items() if value is not None},
    )


def usual_places() -> list[Path]:
    """The usual places of a configuration, in order."""
    places = [Path("/etc/pushmirror"), Path("~/.config/pushmirror").expanduser()]
    return places if os.geteuid() == 0 else places[::-1]


def find(path: Path | None = None) -> Path:
    """The pushmirror.toml to read; ConfigError if there is none."""
    named = path if path is not None else Path(os.environ.get("PUSHMIRROR_CONFIG", ""))
    if path is not None or named != Path():  # `--config .` is a path, an empty variable is none
        file = absolute(named)
        return file / FILE_NAME if os.path.isdir(file) else file  # noqa: PTH112  pathlib raises on EACCES
    for place in usual_places():
        if os.path.exists(place / FILE_NAME):  # noqa: PTH110  pathlib raises on EACCES
            return place / FILE_NAME
    raise ConfigError(
        f"no {FILE_NAME} in {' or '.join(map(str, usual_places()))}",
        hint="create one with `pushmirror init` or `pushmirror import`, or set another place with --config",
    )


class Problems:
    """Collects all problems, for one error."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, file: Path, what: str) -> None:
        self.found.append(f"{file}: {what}")

    def read(self, file: Path) -> Table | None:
        """The file's tables; None if it cannot be read or parsed."""
        try:
            return tomllib.loads(file.read_text("utf-8"))
        except UnicodeDecodeError:
            self.add(file, "expected text in UTF-8")
        except (ValueError, RecursionError) as exc:  # also of too large a number or too deep a nesting
            self.add(file, f"not valid TOML: {exc}")
        except OSError as exc:
            self.add(file, f"cannot be read: {exc.strerror}")
        return None

    def section(
        self, file: Path, key: str, kind: type[Section], table: object, name: str | None = None
    ) -> Section | None:
        """A section as a value; None if it has a problem."""
        if not isinstance(table, dict):
            self.add(file, f"{key}: expected a section [{key}]")
            return None
        if name is not None and "name" in table:
            self.add(
                file, f"{'.'.join(filter(None, (key, 'name')))}: unknown key; the name is already {name}"
            )
        try:
            return kind.model_validate(table if name is None else {**table, "name": name})
        except ValidationError as exc:
            for line in explain(exc, kind, key):
                self.add(file, line)
            return None

    def raise_if_any(self, file: Path) -> None:
        """Raise ConfigError if there are problems."""
        if not self.found:
            return
        there = os.path.lexists(file) or not os.access(file.parent, os.X_OK)
        hint = None if there else "write one with `pushmirror init`"
        raise ConfigError("\n".join(self.found), hint=hint)


def _names(tables: object) -> Iterator[str]:
    if isinstance(tables, Mapping):
        yield from tables


def _archives(file: Path, tables: object, problems: Problems) -> Iterator[tuple[str, model.Archive]]:
    if not isinstance(tables, dict):
        problems.add(file, "archives: expected sections [archives.NAME]")
        return
    for name, table in tables.items():
        archive = problems.section(file, f"archives.{name}", model.Archive, table, name)
        if archive:
            yield name, archive


def _sites(directory: Path, archives: Set[str], problems: Problems) -> Iterator[tuple[Path, model.Site]]:
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208  glob takes a forbidden directory for an empty one
    except FileNotFoundError:
        return
    except OSError as exc:
        problems.add(directory, f"cannot be read: {exc.strerror}")
        return
    for file in (directory / name for name in names if name.endswith(".toml")):
        if file.name.startswith("."):
            continue  # an editor's backup
        table = problems.read(file)
        site = None if table is None else problems.section(file, "", model.Site, table, file.stem)
        if site:
            yield file, site
        elif table:
            problems.found += unknown_archives(file, _told_archives(table), archives)


def _told_archives(table: Table) -> list[str]:
    """The archives of a site's file that has another problem."""
    listed = table.get("archives")
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
