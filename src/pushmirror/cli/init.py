"""`pushmirror init`: create a configuration, an ssh key and the directories, and print the next steps.

Guaranteed: existing files are not changed; secrets and keys are never readable by others, not even for a
moment; nothing is written when an answer is wrong.
"""

from __future__ import annotations

import errno
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

from pushmirror.cli.context import Session
from pushmirror.cli.init_prompts import InitOptions, answers, asked
from pushmirror.cli.init_template import InitAnswers, render, render_archive
from pushmirror.cli.output import print_json
from pushmirror.config import loader, model
from pushmirror.config.types import absolute, is_public
from pushmirror.config.upstream_url import parse_upstream
from pushmirror.errors import ConfigError, Exit, PushmirrorError, UsageError
from pushmirror.system import process
from pushmirror.system.files import create_private, write_atomically

# -- the ssh key of pushes ---


_TIMEOUT_S = 60.0


def make_key(key: Path) -> bool:
    """Make a key without a passphrase, and its .pub; False when there is one already. Raises OSError."""
    if key.exists():
        return False
    key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    comment = f"pushmirror@{socket.gethostname()}"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(key)]
    process.run(argv, timeout_s=_TIMEOUT_S).check()
    return True


# -- an existing configuration ---


def section_to_add(file: Path, given: InitOptions) -> str | None:
    """The section of an archive that the file lacks; none if the file has it with the given values.

    Raises ConfigError if it has other values, because init changes nothing.
    """
    config = settled(file)
    if given.archive is None and (given.path or given.upstream or given.password_file or given.keyring):
        raise UsageError(f"{file} exists: init needs --archive to compare it with the options")
    if given.archive is not None and given.archive not in config.archives:
        return render_archive(answers(replace(given, mirror_name=given.mirror_name or config.mirror.name)))
    if differing := list(_differences(config, given)):
        raise ConfigError("\n".join(f"{file} exists and is kept: {one}" for one in differing))
    return None


def _differences(config: model.Config, given: InitOptions) -> Iterator[str]:
    """Where the existing configuration differs from the given options."""
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
            yield f"{key} is {there or 'not set'} in it, not {wanted}; change it in the file"


def _upstreams(given: InitOptions, archive: model.Archive) -> tuple[str | None, str | None]:
    """The given upstream URL, with the configured user if it has none; and the configured one."""
    there = archive.upstream
    if not given.upstream:
        return None, None
    wanted = parse_upstream(given.upstream)
    user = given.user or wanted.user or (there.user if there else None)
    return str(replace(wanted, user=user)), str(there) if there else None


def _place(path: Path | None) -> Path | None:
    return Path(os.path.normpath(absolute(path))) if path else None


def settled(file: Path) -> model.Config:
    """The existing configuration, also while a password is still missing."""
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
        loader.load(file)  # says it better
        raise PushmirrorError(f"{file} cannot be used") from exc


_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, slots=True)
class CreatedItem:
    """One file or directory that init created or found."""

    what: str
    path: Path
    kept: bool  # it was there already


@dataclass(frozen=True, slots=True)
class Report:
    """What init created, and the next steps."""

    made: tuple[CreatedItem, ...]
    public_key: str  # for the authorized_keys of our sites
    authorized_keys: str  # a line for ours, the hub's public key is to be put in; empty for an owner
    next: tuple[str, ...]


@click.command()
@click.option("--archive", metavar="NAME", help="Name of the archive, such as debian.")
@click.option("--path", type=click.Path(path_type=Path), help="Directory of the archive's tree.")
@click.option(
    "--upstream", metavar="URL", help="rsync://, rsyncs:// or rsync+ssh://; none if the archive is made here."
)
@click.option("--user", help="User name at upstream, if it is not in the URL.")
@click.option("--password-file", type=click.Path(path_type=Path), help="File with the password for upstream.")
@click.option(
    "--keyring",
    type=click.Path(path_type=Path),
    help="Keyring; one of its keys must have signed the Release files.",
)
@click.option("--mirror-name", metavar="HOST", help="Public name of this mirror.  [default: the host's name]")
@click.option("--key", type=click.Path(path_type=Path), help="SSH key for pushing to sites.")
@click.option("--state", type=click.Path(path_type=Path), help="Directory for the database and logs.")
@click.option("--yes", is_flag=True, help="Do not ask questions.")
@click.option("--json", "as_json", is_flag=True, help="Do not ask questions; print JSON.")
@click.pass_context
def init(ctx: click.Context, /, *, yes: bool, as_json: bool, **options: str | Path | None) -> None:
    """Create a configuration, an ssh key and the directories.

    Existing files are kept. On a terminal init asks for missing options.

    \b
    Examples:
      pushmirror init
      pushmirror init --yes --archive debian --path /srv/mirrors/debian \
          --upstream rsync://hub.example.org/debian --user site1.example.com \
          --password-file /etc/pushmirror/upstream.secret \
          --keyring /usr/share/keyrings/debian-archive-keyring.gpg
    """
    session: Session = ctx.obj
    asks = sys.stdin.isatty() and not (yes or as_json)
    given = InitOptions(**options)  # type: ignore[arg-type]  # click has made each what Given says
    file = _file(session)
    chosen = None
    if not file.exists():
        chosen = answers(asked(given, file.parent) if asks else given)
    elif section := section_to_add(file, given):
        click.echo(f"pushmirror: {file} exists and is kept; archive {given.archive} was not added", err=True)
        click.echo("pushmirror: hint: add this section:", err=True)
        print_json({"section": section}) if as_json else click.echo(section)
        ctx.exit(Exit.CONFIG)
    password = _asked_password(chosen) if asks and chosen else ""
    report = _carry_out(file, chosen, password)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _file(session: Session) -> Path:
    """The file to write: as --config for reading, but it need not exist."""
    place = session.config_path or Path(os.environ.get("PUSHMIRROR_CONFIG") or loader.usual_places()[0])
    place = absolute(place)
    return place if place.suffix == ".toml" else place / loader.FILE_NAME


def _asked_password(chosen: InitAnswers) -> str:
    """Ask for the password last, before anything is created: Ctrl-C leaves nothing half done."""
    if chosen.password_file is None or chosen.password_file.exists():
        return ""
    question = "Password at upstream (empty: write it to the file later)"
    return str(click.prompt(question, "", hide_input=True, show_default=False))


def _carry_out(file: Path, chosen: InitAnswers | None, password: str) -> Report:
    """Create what is missing; `told` is none if a configuration exists."""
    try:
        made = list(_configuration(file, chosen))
        config = settled(file)
        secrets = {one.password_file for one in config.archives.values() if one.password_file}
        made += [_password_file(secret, password) for secret in sorted(secrets)]
        trees = (_tree(archive.path) for archive in config.archives.values())
        made += [tree for tree in trees if tree]
        made.append(_directory("state directory", config.state.directory, 0o750))
        made.append(CreatedItem("ssh key", config.push.key, kept=not make_key(config.push.key)))
        public_key = config.push.key.with_name(f"{config.push.key.name}.pub").read_text("utf-8").strip()
        steps = tuple(_next_steps(file, config, made))
    except OSError as exc:
        raise PushmirrorError(f"{exc.filename or file}: {exc.strerror}") from exc
    line = _authorized_keys(file) if _is_pushed(config) else ""
    return Report(tuple(made), public_key, line, steps)


def _is_pushed(config: model.Config) -> bool:
    return any(archive.upstream for archive in config.archives.values())


def _configuration(file: Path, chosen: InitAnswers | None) -> Iterator[CreatedItem]:
    yield _directory("configuration directory", file.parent, 0o755)
    yield _directory("sites' directory", file.parent / loader.SITES, 0o755)
    if chosen:
        write_atomically(file, render(chosen).encode())
    yield CreatedItem("configuration", file, kept=chosen is None)


def _tree(path: Path) -> CreatedItem | None:
    """Create the tree's directory, readable by everybody; none if this user may not create it."""
    try:
        missing = [above for above in path.parents if not above.exists()]
        for above in reversed(missing):
            _directory("", above, 0o755)
        return _directory("tree", path, 0o755)
    except OSError as exc:
        if exc.errno in _NOT_ALLOWED:
            return None
        raise


def _directory(what: str, path: Path, mode: int) -> CreatedItem:
    if path.is_dir():
        return CreatedItem(what, path, kept=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=mode)
    path.chmod(mode)  # whatever the umask says
    return CreatedItem(what, path, kept=False)


def _password_file(path: Path, password: str) -> CreatedItem:
    if path.exists():
        return CreatedItem("password file", path, kept=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    create_private(path, f"{password}\n".encode() if password else b"")
    return CreatedItem("password file", path, kept=False)


def _authorized_keys(file: Path) -> str:
    """The line that limits the hub's key to pushes; `from` is the hub's address, if known."""
    words = [_program()]
    if file.parent not in loader.usual_places():
        words += ["--config", str(file)]
    command = shlex.join([*words, "receive"]).replace('"', '\\"')
    return f'restrict,from="HUB-ADDRESS",command="{command}" HUB-PUBLIC-KEY'


def _program() -> str:
    """The absolute path of this program: the PATH of sshd is short."""
    called = Path(sys.argv[0]).absolute()
    return str(called) if called.name == "pushmirror" else shutil.which("pushmirror") or "pushmirror"


def _next_steps(file: Path, config: model.Config, made: list[CreatedItem]) -> Iterator[str]:
    from pushmirror.checks.machine import made_by_root

    trees = {one.path for one in made if one.what == "tree"}
    for archive in config.archives.values():
        if archive.path not in trees:
            yield f"create the tree's directory, as root: {made_by_root(archive.path)}"
    for one in made:
        if one.what == "password file" and not one.path.stat().st_size:
            yield f"write the password for upstream to {one.path}; it is empty"
    for archive in config.archives.values():
        if archive.upstream and not archive.keyring:
            yield f"set keyring of archives.{archive.name}: without it signatures are not checked"
    if not is_public(config.mirror.name):
        yield f"set [mirror] name to a public host name, not {config.mirror.name}: it names our trace file"
    yield f"review {file}"
    yield "run `pushmirror check`, then `pushmirror sync`, as this user"
    if not _is_pushed(config):
        yield "add each site that mirrors from here: pushmirror site add"
        yield "serve the sites and push to them: pushmirror serve (`serve --print systemd` prints a service)"
        yield "after each change of the archive run `pushmirror sync`: it pushes to the sites"
        return
    yield (
        "to receive pushes, add the line below to ~/.ssh/authorized_keys: "
        "replace HUB-ADDRESS and HUB-PUBLIC-KEY (remove from= only if the hub's address changes)"
    )


def _print(report: Report) -> None:
    for one in report.made:
        click.echo(f"{'kept   ' if one.kept else 'created'}  {one.what}: {one.path}")
    click.echo("\nNext:")
    for number, step in enumerate(report.next, 1):
        click.echo(f"  {number}. {step}")
    if report.authorized_keys:
        click.echo(f"\n{report.authorized_keys}\n")  # at the start of its line, to be copied as it is
        click.echo("Public key of this machine, for the authorized_keys of sites that it will push to:\n")
    else:
        click.echo(
            "\nPublic key of this hub; `site add` puts it into the line for a site's authorized_keys:\n"
        )
    click.echo(report.public_key)
