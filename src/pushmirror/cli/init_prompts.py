"""The options and prompts of `init`; each answer on a terminal is checked at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click
from pydantic import ValidationError

from pushmirror.cli.init_template import InitAnswers
from pushmirror.config import loader, model
from pushmirror.config.model import DEBIAN_KEYRING, looks_like_debian
from pushmirror.config.problems import explain
from pushmirror.config.types import absolute, is_public, own_name
from pushmirror.config.upstream_url import Scheme, parse_upstream
from pushmirror.errors import UsageError

_NONE = "-"  # the answer for none, where an empty one means the default


@dataclass(frozen=True, slots=True)
class InitOptions:
    """The command-line options."""

    archive: str | None = None
    path: Path | None = None
    upstream: str | None = None
    user: str | None = None
    password_file: Path | None = None
    keyring: Path | None = None
    mirror_name: str | None = None
    key: Path | None = None
    state: Path | None = None


def asked(given: InitOptions, directory: Path) -> InitOptions:
    """Prompt for missing options; `directory` is the configuration's."""
    archive_valid = _valid(model.Archive, "name", path="/tree")
    given = replace(
        given,
        mirror_name=given.mirror_name or click.prompt("Public name of this mirror", _own(), value_proc=_name),
        archive=given.archive or click.prompt("Name of the archive", "debian", value_proc=archive_valid),
    )
    path = given.path or Path(
        click.prompt(
            "Directory of its tree",
            f"/srv/mirrors/{given.archive}",
            value_proc=_valid(model.Archive, "path", name="a"),
        )
    )
    upstream = given.upstream or click.prompt(
        "Upstream URL (empty: the archive is made on this machine)", "", value_proc=_upstream
    )
    given = replace(given, path=path, upstream=upstream or None)
    return _asked_of_upstream(given, directory) if given.upstream else given


def _asked_of_upstream(given: InitOptions, directory: Path) -> InitOptions:
    user = given.user
    if not user and "@" not in str(given.upstream):
        user = click.prompt(
            "User name at upstream (empty: none)",
            "",
            value_proc=lambda entered: (
                entered and _upstream(_with_user(given.upstream, entered) or "") and entered
            ),
        )
    url = parse_upstream(_with_user(given.upstream, user or None))
    secret, keyring = given.password_file, given.keyring
    if url.user and url.scheme is not Scheme.RSYNC_SSH and not secret:
        valid = _valid(model.Archive, "password_file", name="a", path="/tree", upstream="rsync://u@h/m")
        default = f"{directory}/{given.archive}.secret"
        secret = Path(click.prompt("File with the password for upstream", default, value_proc=valid))
    if not keyring:
        likely = looks_like_debian(str(given.archive)) and Path(DEBIAN_KEYRING).exists()
        entered = click.prompt(
            f"Keyring of the archive ({_NONE}: do not check signatures)",
            DEBIAN_KEYRING if likely else _NONE,
            value_proc=_keyring,
        )
        keyring = None if entered == _NONE else Path(entered)
    return replace(given, user=user or None, password_file=secret, keyring=keyring)


def answers(given: InitOptions) -> InitAnswers:
    """Check the options; raises UsageError or ConfigError before anything is written."""
    if given.archive is None or given.path is None:
        raise UsageError(
            "init needs --archive and --path when it cannot ask",
            hint="such as: pushmirror init --yes --archive debian --path /srv/mirrors/debian",
        )
    name = given.mirror_name or own_name()
    if not given.mirror_name and not is_public(name):
        raise UsageError(
            f"{name} is not a public host name: mirror checkers look for project/trace/NAME",
            hint="give a public name, such as: --mirror-name mirror.example.org",
        )
    found = InitAnswers(
        mirror_name=name,
        archive=given.archive,
        path=absolute(given.path),
        upstream=_with_user(given.upstream, given.user),
        password_file=_absolute(given.password_file),
        keyring=_absolute(given.keyring),
        key=_absolute(given.key) or model.Push().key,
        state=_absolute(given.state) or model.default_state_directory(),
    )
    entered = {
        "path": str(found.path),
        "upstream": found.upstream,
        "password_file": found.password_file,
        "keyring": found.keyring or (),
    }
    problems = loader.Problems()
    problems.section(Path("init"), f"archives.{given.archive}", model.Archive, entered, given.archive)
    problems.section(Path("init"), "mirror", model.Mirror, {"name": found.mirror_name})
    problems.raise_if_any(Path())
    return found


def _absolute(path: Path | None) -> Path | None:
    return absolute(path) if path else None


def _with_user(url: str | None, user: str | None) -> str | None:
    if not url or not user:
        return url
    try:
        return str(replace(parse_upstream(url), user=user))
    except ValueError as exc:
        raise UsageError(f"--upstream: {exc}") from exc


def _own() -> str | None:
    name = own_name()
    return name if is_public(name) else None


def _valid(kind: type[model.Values], key: str, **others: str) -> Callable[[str], str]:
    """Check one answer with the rules of the configuration; click asks again after a UsageError."""

    def check(entered: str) -> str:
        try:
            kind.model_validate({**others, key: entered})
        except ValidationError as exc:
            raise click.UsageError("; ".join(explain(exc, kind, ""))) from exc
        return entered

    return check


def _name(entered: str) -> str:
    if not is_public(entered):
        raise click.UsageError("expected a public host name: mirror checkers look for project/trace/NAME")
    return _valid(model.Mirror, "name")(entered)


def _upstream(entered: str) -> str:
    return entered and _valid(model.Archive, "upstream", name="a", path="/tree")(entered)


def _keyring(entered: str) -> str:
    if entered == _NONE:
        return entered
    if not absolute(Path(entered)).is_file():
        raise click.UsageError(f"{entered} does not exist")
    return _valid(model.Archive, "keyring", name="a", path="/tree")(entered)
