"""`pushmirror init`: a first configuration, an ssh key and the directories, and what to do next.

Guaranteed: nothing that exists is changed; secrets and keys are readable by their owner only from the
moment they exist; nothing is written when an answer is wrong.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click

from pushmirror.cli.first_config import Answers, render
from pushmirror.cli.output import print_json
from pushmirror.cli.session import Session
from pushmirror.config import model, toml
from pushmirror.config.upstream import parse_upstream
from pushmirror.errors import PushmirrorError, UsageError
from pushmirror.system import process
from pushmirror.system.files import create_private, write_atomically


@dataclass(frozen=True, slots=True)
class Made:
    """One thing that init looked after."""

    what: str
    path: Path
    kept: bool  # it was there already


@dataclass(frozen=True, slots=True)
class Report:
    """What init did, and what is left to do."""

    made: tuple[Made, ...]
    public_key: str  # for the authorized_keys of our sites
    authorized_keys: str  # a line for ours; the hub's public key is to be put in
    next: tuple[str, ...]


@click.command()
@click.option("--archive", metavar="NAME", help="Name of the archive, such as debian.")
@click.option("--path", type=click.Path(path_type=Path), help="Directory of its tree.")
@click.option("--upstream", metavar="URL", help="rsync://, rsyncs:// or rsync+ssh://; none for the owner.")
@click.option("--user", help="Login at upstream, if the URL has none.")
@click.option("--password-file", type=click.Path(path_type=Path), help="File with the password for upstream.")
@click.option("--mirror-name", metavar="HOST", help="Public name of this mirror.  [default: the host's name]")
@click.option("--key", type=click.Path(path_type=Path), help="The ssh key that pushes.")
@click.option("--state", type=click.Path(path_type=Path), help="Directory for the database and logs.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@click.option("--json", "as_json", is_flag=True, help="Ask nothing, print JSON.")
@click.pass_obj
def init(
    session: Session,
    *,
    archive: str | None,
    path: Path | None,
    upstream: str | None,
    user: str | None,
    password_file: Path | None,
    mirror_name: str | None,
    key: Path | None,
    state: Path | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Write a first configuration, an ssh key and the directories.

    What is there already is kept. On a terminal it asks for what was not given.

    \b
    Examples:
      pushmirror init
      pushmirror init --yes --archive debian --path /srv/mirrors/debian \\
          --upstream rsync://hub.example.org/debian --user site1.example.com \\
          --password-file /etc/pushmirror/upstream.secret
    """
    asks = sys.stdin.isatty() and not (yes or as_json)
    file = _file(session)
    answers = None
    if not file.exists():
        given = _Given(archive, path, upstream, user, password_file, mirror_name)
        answers = _answers(_asked(given) if asks else given, key, state)
    report = _carry_out(file, answers, asks=asks)
    if as_json:
        print_json(report)
    else:
        _print(report)


@dataclass(frozen=True, slots=True)
class _Given:
    archive: str | None
    path: Path | None
    upstream: str | None
    user: str | None
    password_file: Path | None
    mirror_name: str | None


def _file(session: Session) -> Path:
    """The file to write: as with --config for reading, but it need not exist."""
    place = session.config_path or Path(os.environ.get("PUSHMIRROR_CONFIG") or toml.usual_places()[0])
    place = place.expanduser().absolute()
    return place if place.suffix == ".toml" else place / toml.FILE_NAME


def _asked(given: _Given) -> _Given:
    name = given.mirror_name or click.prompt("Public name of this mirror", socket.getfqdn())
    archive = given.archive or click.prompt("Name of the archive", "debian")
    path = given.path or Path(click.prompt("Directory of its tree", f"/srv/mirrors/{archive}"))
    upstream = given.upstream or click.prompt("Upstream URL (empty: this machine is the owner)", "")
    user = given.user
    if upstream and not user and "@" not in upstream:
        user = click.prompt("Login at upstream (empty: none)", "") or None
    return replace(given, mirror_name=name, archive=archive, path=path, upstream=upstream or None, user=user)


def _answers(given: _Given, key: Path | None, state: Path | None) -> Answers:
    """The answers, checked; raises UsageError or ConfigError before anything is written."""
    if given.archive is None or given.path is None:
        raise UsageError(
            "init needs --archive and --path where there is no terminal to ask on",
            hint="such as: pushmirror init --yes --archive debian --path /srv/mirrors/debian",
        )
    answers = Answers(
        mirror_name=given.mirror_name or socket.getfqdn(),
        archive=given.archive,
        path=given.path.expanduser().absolute(),
        upstream=_with_user(given.upstream, given.user),
        password_file=given.password_file.expanduser().absolute() if given.password_file else None,
        key=key.expanduser().absolute() if key else None,
        state=state.expanduser().absolute() if state else None,
    )
    told = {"path": str(answers.path), "upstream": answers.upstream, "password_file": answers.password_file}
    problems = toml.Problems()
    problems.section(Path("init"), f"archives.{given.archive}", model.Archive, told, given.archive)
    problems.section(Path("init"), "mirror", model.Mirror, {"name": answers.mirror_name})
    problems.raise_if_any(Path())
    return answers


def _with_user(url: str | None, user: str | None) -> str | None:
    if not url or not user:
        return url
    try:
        return str(replace(parse_upstream(url), user=user))
    except ValueError as exc:
        raise UsageError(f"--upstream: {exc}") from exc


def _carry_out(file: Path, answers: Answers | None, *, asks: bool) -> Report:
    """Make what is missing; `answers` is none when there is a configuration already."""
    try:
        made = list(_configuration(file, answers, asks=asks))
        settled = tomllib.loads(file.read_text("utf-8"))
        key = model.Push.model_validate(settled.get("push", {})).key
        state = model.State.model_validate(settled.get("state", {})).directory
        made.append(_directory("state directory", state, 0o750))
        made.append(_ssh_key(key))
        public_key = key.with_name(f"{key.name}.pub").read_text("utf-8").strip()
    except OSError as exc:
        raise PushmirrorError(f"{exc.filename or file}: {exc.strerror}") from exc
    except ValueError as exc:  # of TOML, or of the model
        toml.load(file)  # says it better
        raise PushmirrorError(f"{file} cannot be used") from exc
    return Report(tuple(made), public_key, _authorized_keys(file), tuple(_next_steps(file, made, public_key)))


def _configuration(file: Path, answers: Answers | None, *, asks: bool) -> Iterator[Made]:
    yield _directory("configuration directory", file.parent, 0o755)
    yield _directory("sites' directory", file.parent / toml.SITES, 0o755)
    if answers and answers.password_file:
        yield _password_file(answers.password_file, asks=asks)
    if answers:
        write_atomically(file, render(answers).encode())
    yield Made("configuration", file, kept=answers is None)


def _directory(what: str, path: Path, mode: int) -> Made:
    if path.is_dir():
        return Made(what, path, kept=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=mode)
    path.chmod(mode)  # whatever the umask says
    return Made(what, path, kept=False)


def _password_file(path: Path, *, asks: bool) -> Made:
    if path.exists():
        return Made("password file", path, kept=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    password = click.prompt("Password at upstream", "", hide_input=True, show_default=False) if asks else ""
    create_private(path, f"{password}\n".encode() if password else b"")
    return Made("password file", path, kept=False)


def _ssh_key(key: Path) -> Made:
    if key.exists():
        return Made("ssh key", key, kept=True)
    key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    comment = f"pushmirror@{socket.gethostname()}"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(key)]
    process.run(argv, timeout_s=60).check()
    return Made("ssh key", key, kept=False)


def _authorized_keys(file: Path) -> str:
    """The line that lets the hub's key do one thing; `from` is the hub's address, for who knows it."""
    words = [_program()]
    if file.parent not in toml.usual_places():
        words += ["--config", str(file)]
    command = shlex.join([*words, "receive"]).replace('"', '\\"')
    return f'restrict,from="HUB-ADDRESS",command="{command}" HUB-PUBLIC-KEY'


def _program() -> str:
    """This very program: sshd's PATH is short, and may have none or another one."""
    called = Path(sys.argv[0]).absolute()
    return str(called) if called.name == "pushmirror" else shutil.which("pushmirror") or "pushmirror"


def _next_steps(file: Path, made: list[Made], public_key: str) -> Iterator[str]:
    for one in made:
        if one.what == "password file" and not one.path.stat().st_size:
            yield f"write the password for upstream into {one.path}"
    yield f"look through {file}"
    yield "run `pushmirror check`, then `pushmirror sync`"
    yield (
        "to be pushed, put this line into ~/.ssh/authorized_keys, with the hub's address and public key "
        f"(leave out from= only if the address changes): {_authorized_keys(file)}"
    )
    yield f"to push sites of your own, give them this public key: {public_key}"


def _print(report: Report) -> None:
    for one in report.made:
        click.echo(f"{'kept   ' if one.kept else 'created'}  {one.what}: {one.path}")
    click.echo("\nNext:")
    for number, step in enumerate(report.next, 1):
        click.echo(f"  {number}. {step}")
