"""What a configuration that is there already says, beside what `init` was given; nothing is changed."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pushmirror.cli.first_answers import Given, answers
from pushmirror.cli.first_config import render_archive
from pushmirror.config import model, toml
from pushmirror.config.types import absolute
from pushmirror.config.upstream import parse_upstream
from pushmirror.errors import ConfigError, PushmirrorError, UsageError


def section_to_add(file: Path, given: Given) -> str | None:
    """The section of an archive that the file lacks; none when the file says what was given.

    Raises ConfigError when it says something else, for init changes nothing.
    """
    config = settled(file)
    if given.archive is None and (given.path or given.upstream or given.password_file or given.keyring):
        raise UsageError(f"{file} exists: init needs --archive to compare with it")
    if given.archive is not None and given.archive not in config.archives:
        return render_archive(answers(replace(given, mirror_name=given.mirror_name or config.mirror.name)))
    if differing := list(_differences(config, given)):
        raise ConfigError("\n".join(f"{file} exists and is kept: {one}" for one in differing))
    return None


def _differences(config: model.Config, given: Given) -> Iterator[str]:
    """Where the configuration that is there says something else than what was given."""
    found: dict[str, tuple[object, object]] = {
        "mirror.name": (given.mirror_name, config.mirror.name),
        "push.key": (_place(given.key), config.push.key),
        "state.directory": (_place(given.state), config.state.directory),
    }
    if given.archive is not None:
        archive = config.archives[given.archive]
        keyring = _place(given.keyring)
        found |= {
            f"archives.{given.archive}.path": (_place(given.path), archive.path),
            f"archives.{given.archive}.upstream": _upstreams(given, archive),
            f"archives.{given.archive}.password_file": (_place(given.password_file), archive.password_file),
            f"archives.{given.archive}.keyring": (
                keyring,
                keyring if keyring in archive.keyring else ", ".join(map(str, archive.keyring)),
            ),
        }
    for key, (wanted, there) in found.items():
        if wanted is not None and wanted != there:
            yield f"{key} is {there or 'not set'} there, not {wanted}; change it there"


def _upstreams(given: Given, archive: model.Archive) -> tuple[str | None, str | None]:
    """What was given, with the login that is there if it has none, and what is there."""
    there = archive.upstream
    if not given.upstream:
        return None, None
    wanted = parse_upstream(given.upstream)
    user = given.user or wanted.user or (there.user if there else None)
    return str(replace(wanted, user=user)), str(there) if there else None


def _place(path: Path | None) -> Path | None:
    return Path(os.path.normpath(absolute(path))) if path else None


def settled(file: Path) -> model.Config:
    """The configuration that is there, also when it cannot be used yet for want of a password."""
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
        archives = {name: {**table, "name": name} for name, table in tables.get("archives", {}).items()}
        return model.Config.model_validate({**tables, "archives": archives})
    except OSError as exc:
        raise PushmirrorError(f"{file}: {exc.strerror}") from exc
    except (
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as exc:  # of TOML, of the model, or a table that is none
        toml.load(file)  # says it better
        raise PushmirrorError(f"{file} cannot be used") from exc
