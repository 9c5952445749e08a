from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushmirror.archvsync_config.variables import decoded
from pushmirror.config import loader, model
from pushmirror.config.model import Archive, Config, Mirror, Push, PushKind, Serve, Site, State
from pushmirror.config.types import Wait
from pushmirror.importing.output import render, render_site

MIRROR = Mirror(name="mirror.example.org")
DEBIAN = {"name": "debian", "path": "/srv/debian"}


def written(config: Config, directory: Path) -> Config:
    """What is read of what is written."""
    (directory / "sites.d").mkdir(exist_ok=True)
    (directory / "pushmirror.toml").write_text(render(config), "utf-8")
    for old in (directory / "sites.d").iterdir():
        old.unlink()
    for site in config.sites.values():
        (directory / f"sites.d/{site.name}.toml").write_text(render_site(site), "utf-8")
    return loader.load(directory)


def config(*, sites=(), archives=({},), **sections) -> Config:
    made = [Archive.model_validate(DEBIAN | one) for one in archives]
    return Config(
        **{"mirror": MIRROR, **sections},
        archives={one.name: one for one in made},
        sites={site.name: site for site in sites},
    )


def site(**keys) -> Site:
    return Site.model_validate(
        {"name": "a", "host": "a.example.org", "user": "m", "archives": ["debian"]} | keys
    )


FULL = {
    "module": "ftp",
    "comment": 'a # "comment" \\',
    "strategy": "full",
    "keyring": ["/k/one.gpg", "/k/two.gpg"],
    "architectures": ["amd64", "source"],
    "filter": ["+ /a b/", "- *.iso", "- " + "long" * 30],
    "protect": ["/local/***"],
    "grace": "0",
    "full_every": "90s",
    "bandwidth_limit": "20M",
    "timeout": "1.5s",
    "rsync_options": ["--port=8873"],
    "tls_method": "stunnel",
    "delete": {"max_files": 7, "max_share": 1.0},
    "update_in_progress": {"wait": "20min", "retries": 0},
    "hooks": {"after_publish": ["/bin/sh", "-c", "echo \"$1\" 'x'"], "inherit_environment": True},
    "callback": {"host": "h", "key": "/key"},
    "access": "open",
    "hosts_allow": ["192.0.2.0/24", "*.example.org"],
}
TABLE = [
    config(),
    config(archives=[FULL, {"name": "b.c", "path": "/srv/b", "upstream": "rsync://[2001:db8::1]:8873/b"}]),
    config(archives=[{"upstream": "rsyncd+ssh://u@h/m", "ssh_options": ["-p", "22"], "ssh_key": "/k"}]),
    config(push=Push(key=Path("/k"), deadline=timedelta(seconds=61), quorum=0.5, addresses=("::1",))),
    config(serve=Serve(rsync="127.0.0.1:8873", max_connections=7, refuse_options=(), auth_digest="sha256")),
    config(state=State(directory=Path("/s"), keep_runs=3)),
    config(sites=[site(), site(name="b", host="b", push="mhop", callback=True, port=2222, key="/k")]),
    config(sites=[site(delay=[Wait(timedelta(hours=2)), Wait(timedelta(seconds=1.5), until_stage1=True)])]),
    config(sites=[site(main_archive="debian", archive_names={"debian": "other"}, ssh_options=["-oA=b c"])]),
]


@pytest.mark.parametrize("told", TABLE, ids=range(len(TABLE)))
def test_what_is_written_is_read_as_it_was(tmp_path, told):
    assert written(told, tmp_path).model_copy(update={"source": None}) == told


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)
SPANS = st.timedeltas(timedelta(seconds=1), timedelta(days=3000)).map(
    lambda span: timedelta(seconds=int(span.total_seconds()), milliseconds=span.microseconds // 1000)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=4), TEXTS, SPANS, st.sampled_from([*PushKind]))
def test_any_text_and_any_span_is_read_as_it_was(tmp_path_factory, patterns, comment, span, kind):
    archive = {"protect": patterns, "comment": comment, "timeout": span}
    told = config(archives=[archive], sites=[site(push=kind, delay=[Wait(span)])], push=Push(deadline=span))
    directory = tmp_path_factory.getbasetemp()
    assert written(told, directory).model_copy(update={"source": None}) == told


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=30))
def test_any_bytes_of_an_old_file_are_read_as_the_text_they_were_taken_for(tmp_path_factory, data):
    text = "".join(character for character in decoded(data) if character.isprintable())
    told = config(mirror=Mirror(name="m", location=text), sites=[site(ssh_options=("-o", f"User={text}"))])
    directory = tmp_path_factory.getbasetemp()
    assert written(told, directory).model_copy(update={"source": None}) == told


def test_only_what_differs_from_the_defaults_is_written_and_what_depends_on_the_caller():
    keys = [line.partition(" =")[0] for line in render(config()).splitlines() if " = " in line]
    assert keys == ["name", "path", "key", "directory"]


def test_no_password_can_be_in_it():
    fields = {name for kind in (Archive, Push, Serve, Site, model.State) for name in kind.model_fields}
    assert not {name for name in fields if "password" in name} - {"password_file", "password_grace"}
