"""What rsyncd.conf says to rsync is what the configuration says to us, whatever the values are."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pushmirror.access import rsyncd_conf
from pushmirror.access.rsyncd_conf import DaemonFacts, DaemonPaths
from pushmirror.config.model import Config
from pushmirror.errors import ConfigError
from pushmirror.system import process

FACTS = DaemonFacts((3, 1, 3), root=False, ipv6=False)  # what every rsync understands
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SPECIAL = st.text(st.sampled_from("%PATHOME\\#;=[]&'\"$ ~äé/.-_ax\u2028"), max_size=20)
TEXT = SPECIAL | st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)


def conf(directory: Path, **archive: object) -> Path:
    table = {"name": "debian", "access": "open", "path": str(directory), **archive}
    config = Config.model_validate({"archives": {"debian": table}})
    text = rsyncd_conf.render(config, {}, DaemonPaths(directory), FACTS)
    user = [f"uid = {os.geteuid()}", f"gid = {os.getegid()}"] if os.geteuid() == 0 else []
    head, module, tail = text.partition("\n[debian]\n")
    file = directory / "conf"
    file.write_text("\n".join([head, *user]) + module + tail)
    return file


def said(file: Path, words: str) -> str:
    argv = ["rsync", "--server", "--daemon", f"--config={file}", "."]
    return process.run(argv, stdin=f"@RSYNCD: 31.0\n{words}\n".encode(), timeout_s=60).output.decode(
        "utf-8", "replace"
    )


@QUICK
@given(comment=TEXT)
def test_a_comment_is_told_as_it_was_written(tmp_path, comment):
    try:
        file = conf(tmp_path, comment=comment)
    except ConfigError:
        assume(False)
    assert said(file, "#list").split("\n", 1)[1] == f"debian         \t{comment.strip()}\n@RSYNCD: EXIT\n"


@QUICK
@given(name=TEXT)
def test_a_path_leads_to_its_tree(tmp_path, name):
    assume(name.isprintable() and name.strip("./") and len(name.encode()) < 200 and not name.startswith("~"))
    base = Path(tempfile.mkdtemp(dir=tmp_path))
    tree = Path(os.path.normpath(base / name.strip("/")))
    assume(tree.is_relative_to(base) and tree != base)
    try:
        file = conf(base, path=str(tree))
    except ConfigError:
        assume(False)
    tree.mkdir(parents=True, exist_ok=True)
    (tree / "marker").touch()
    shell = f"sh -c {shlex.quote(f'exec rsync --server --daemon --config={file} .')}"
    into = base / "pulled"
    process.run(["rsync", "-rlt", "-e", shell, "host::debian/", f"{into}/"], timeout_s=60).check()
    assert (into / "marker").is_file()
    shutil.rmtree(base)


@pytest.mark.parametrize("comment", ["%PATH%", "a\\"])
def test_what_is_refused_would_have_been_told_otherwise(tmp_path, comment):
    file = conf(tmp_path, comment="instead")
    file.write_text(file.read_text().replace("instead", comment))
    assert comment not in said(file, "#list")


def test_an_empty_list_of_users_would_let_everybody_in_and_ours_does_not(tmp_path):
    closed = conf(tmp_path, access="sites")
    assert "AUTHREQD" in said(closed, "debian")
    closed.write_text(closed.read_text().replace("*:deny", ""))
    assert "AUTHREQD" not in said(closed, "debian")
