from __future__ import annotations

import os
from pathlib import Path

import pytest

from pushmirror.config.model import Access
from pushmirror.errors import ConfigError
from pushmirror.importing.rsyncd_conf import Rsyncd, key, read_rsyncd
from pushmirror.importing.rsyncd_modules import offers, serve
from pushmirror.system import process


def conf(directory: Path, text: str, **files: str) -> Path:
    """An rsyncd.conf beside other files; "@/" is in their directory."""
    for name, content in {"rsyncd_conf": text, **files}.items():
        path = directory / name.replace("__", "/").replace("_conf", ".conf").replace("_inc", ".inc")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content.replace("@/", f"{directory}/"))
    return directory / "rsyncd.conf"


def read(directory: Path, text: str, **files: str) -> Rsyncd:
    return read_rsyncd(conf(directory, text, **files))


@pytest.mark.parametrize("name", ["max connections", "timeout"])
@pytest.mark.parametrize("value", ["\N{SUPERSCRIPT TWO}", "0", "-1", "9" * 11, "9" * 5000, "x"])
def test_a_number_that_is_none_is_told(tmp_path, name, value):
    keys, warnings = serve(read(tmp_path, f"{name} = {value}\n[a]\npath = /tmp\n"))
    assert not keys and len(warnings) == 1 and name in warnings[0]


def test_a_timeout_of_centuries_is_told(tmp_path):
    keys, warnings = serve(read(tmp_path, f"timeout = {'9' * 10}\n[a]\npath = /tmp\n"))
    assert not keys and "ten years" in warnings[0]


def test_a_line_with_a_nul_is_left_out_and_told(tmp_path):
    found = read(tmp_path, "[a]\npath = /tmp\npath = /x\0\n")
    assert found.modules[0].get("path") == "/tmp" and "NUL" in found.warnings[0]


#: Each is read by rsync, too: names and comments as its list of modules has them.
ODD = {
    "names": "[ a   b ]\npath=/tmp\ncomment=one\n[Debian]\nPA TH = /tmp\n Com Ment = two\n",
    "a section twice": "[a]\npath=/tmp\ncomment=one\n[b]\npath=/tmp\n[A]\ncomment=two\n",
    "going on": "[a]\npath=/tmp\ncomment = one \\\n  two\\  \n  three # four\n",
    "comments do not go on": "[a]\npath=/tmp\n# comment \\\ncomment = one\n",
    "global parameters": "comment=all\n[a]\npath=/tmp\n[global]\ncomment=late\n[b]\npath=/tmp\n",
    "a text that is set too late": "[a]\npath=/tmp\n[global]\ncomment=late\n",
    "no parameter": "[a]\npath=/tmp\nnonsense\ncomment=one\n",
    "equals signs": "[a]\npath=/tmp\ncomment = a = b\n",
    "underscores": "[a]\npath=/tmp\ncom_ment = a\n",
    "included": "comment=ours\n&include @/inc.conf\n[a]\npath=/tmp\n",
    "included within a module": "[a]\npath=/tmp\n&include @/inc.conf\ncomment=after\n[b]\npath=/tmp\n",
    "merged": "[a]\npath=/tmp\n&merge @/m.inc\n[b]\npath=/tmp\n",
    "merged before": "&merge = @/m.inc\n[b]\npath=/tmp\n",
    "directories": "&merge @/d\n&include @/d\n[z]\npath=/tmp\n",
    "a bracket too many": "[a]]\npath=/tmp\ncomment=one\n",
}
FILES = {
    "inc_conf": "comment=theirs\n[i]\npath=/tmp\n[j]\npath=/tmp\ncomment=own\n",
    "m_inc": "comment = merged\n",
    "d__b_conf": "[db]\npath=/tmp\n",
    "d__a_conf": "comment=of a\n[da]\npath=/tmp\n",
    "d__all_inc": "comment=of all\n",
    "d__c_other": "[never]\npath=/tmp\n",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_modules_are_read_as_rsync_reads_them(tmp_path, text):
    file = conf(tmp_path, text, **FILES)
    argv = ["rsync", "--server", "--daemon", f"--config={file}", "."]
    said = process.run(argv, stdin=b"@RSYNCD: 31.0\n#list\n", timeout_s=60).output.decode()
    theirs = [line.split("\t") for line in said.splitlines() if "\t" in line]
    ours = [[module.name, module.get("comment")] for module in read_rsyncd(file).modules]
    assert ours == [[name.rstrip(), comment] for name, comment in theirs]


@pytest.mark.parametrize(
    "text", ["[a/b]\npath=/tmp\n", "[ ]\npath=/tmp\n", "&include\n", "&include @/none.conf\n"]
)
def test_what_rsync_refuses_is_refused(tmp_path, text):
    file = conf(tmp_path, text)
    argv = ["rsync", "--server", "--daemon", f"--config={file}", "."]
    assert process.run(argv, stdin=b"@RSYNCD: 31.0\n#list\n", timeout_s=60).exit_code != 0
    with pytest.raises(ConfigError, match=str(tmp_path)):
        read_rsyncd(file)


def test_a_file_that_includes_itself_comes_to_an_end(tmp_path):
    with pytest.raises(ConfigError, match="at most"):
        read(tmp_path, "&merge @/rsyncd.conf\n")


def test_a_parameter_knows_its_file_and_line(tmp_path):
    rsyncd = read(tmp_path, "\n[a]\n&merge @/m.inc\n", m_inc="# x\npath = \\\n /tmp\n")
    assert rsyncd.modules[0].parameters["path"].place == f"{tmp_path}/m.inc:2"


def test_a_variable_of_the_environment_is_told_and_not_taken(tmp_path):
    rsyncd = read(tmp_path, "[a]\npath = %HOME%/x\n")
    assert rsyncd.modules[0].get("path") == ""
    assert rsyncd.warnings == (
        f"{tmp_path}/rsyncd.conf:2: path has %HOME%, an environment variable; write its value instead",
    )


WHO = [
    ("", "anybody", Access.OPEN, False),
    ("auth users = *", "anybody", Access.SITES, True),
    ("auth users = joe", "anybody", Access.SITES, False),
    ("auth users = joe, site?.example.org", "site1.example.org", Access.SITES, True),
    ("auth users = joe:deny *", "joe", Access.SITES, False),
    ("auth users = joe:deny *", "jim", Access.SITES, True),
    ("auth users = jim:rw", "jim", Access.SITES, True),
    ("auth users = @staff", "jim", Access.SITES, False),
    ("auth users = jim @staff:deny joe", "jim", Access.SITES, True),
    ("auth users = jim @staff:deny joe", "joe", Access.SITES, False),  # perhaps of that group
    ("auth users = ,jim bo,joe", "joe", Access.SITES, True),
]


@pytest.mark.parametrize(("line", "user", "access", "let_in"), WHO)
def test_who_may_read_a_module(tmp_path, line, user, access, let_in):
    (offer,), _ = offers(read(tmp_path, f"[a]\npath=/t\n{line}\n"))
    assert (offer.keys["access"], offer.lets_in(user)) == (access, let_in)


FROM = [
    ("hosts allow = 192.0.2.0/24, *.example.org", {"hosts_allow": ("192.0.2.0/24", "*.example.org")}, ""),
    ("hosts allow = 192.0.2.1\nhosts deny = *", {"hosts_allow": ("192.0.2.1",)}, ""),
    ("hosts deny = *", {"access": Access.NONE}, "hosts deny has no counterpart: set hosts_allow"),
    ("hosts deny = 192.0.2.1", {"access": Access.OPEN}, "hosts deny has no counterpart: set hosts_allow"),
    (
        "hosts allow = 192.0.2.1\nhosts deny = 192.0.2.2",
        {"access": Access.OPEN},
        "hosts deny has no counterpart",
    ),
    ("hosts allow = a[bc].example.org", {"access": Access.NONE}, "not served until"),
    ("hosts allow = @group 192.0.2.1", {"hosts_allow": ("192.0.2.1",)}, '"@group" cannot be imported'),
]


@pytest.mark.parametrize(("lines", "keys", "told"), FROM)
def test_from_where_a_module_may_be_read(tmp_path, lines, keys, told):
    (offer,), warnings = offers(read(tmp_path, f"[a]\npath=/t\n{lines}\n"))
    assert keys.items() <= offer.keys.items()
    assert told in " ".join(warnings) and bool(told) == bool(warnings)


CLOSED = [
    ("auth users = %USERS%", "%USERS% in auth users"),
    ("hosts allow = %NET%", "%NET% in hosts allow"),
    ("hosts deny = 192.0.2.1 %NET%", "%NET% in hosts deny"),
    ("write only = yes", "it is write only"),
    ("write only = True\nauth users = *", "it is write only"),
    ("max connections = -1", "max connections is below 0"),
    ("exclude = /private", "exclude hides a part"),
    ("exclude = %HIDDEN%", "exclude hides a part"),
    ("exclude from = /etc/hidden", "exclude from hides a part"),
    ("include = *.deb\nfilter = - *", "filter hides a part"),
    ("filter = - /private", "filter hides a part"),
]


@pytest.mark.parametrize("at", ["[a]\npath=/t\n{}\n", "{}\n[a]\npath=/t\n"])
@pytest.mark.parametrize(("lines", "why"), CLOSED)
def test_a_module_that_rsync_keeps_closed_is_open_to_nobody_and_told(tmp_path, lines, why, at):
    (offer,), warnings = offers(read(tmp_path, at.format(lines)))
    assert offer.keys["access"] is Access.NONE and not ("write" in lines and offer.rules)
    assert [why in one for one in warnings if "[a] is not served: " in one] == [True]


def test_what_a_module_hides_from_its_users_does_not_close_it(tmp_path):
    (offer,), warnings = offers(read(tmp_path, "[a]\npath=/t\nauth users=*\nexclude=/x\nsecrets file=/s\n"))
    assert offer.keys["access"] is Access.SITES and "move files away" in " ".join(warnings)


def test_a_limit_that_closes_one_module_is_not_the_daemons(tmp_path):
    text = "[a]\npath=/t\nmax connections = -1\n[b]\npath=/u\nmax connections = 7\n"
    assert serve(read(tmp_path, text)) == ({"max_connections": 7}, ())


@pytest.mark.parametrize("line", ["port = %P%", "address = %A%", "uid = %U%", "max connections = %M%"])
def test_what_the_daemon_has_from_its_environment_is_told_once(tmp_path, line):
    rsyncd = read(tmp_path, f"{line}\n[a]\npath=/t\n")
    assert serve(rsyncd) == ({}, ()) and len(rsyncd.warnings) == 1


WITHOUT = [
    ("auth users = *\nsecrets file=/s\nexclude = /private", "move files away that must not be read"),
    ("exclude = .~tmp~/", ""),
    ("pre-xfer exec = /bin/true", "no program is run"),
    ("read only = false", "read-only"),
    ("read only = yes", ""),
    ("list = no", "listed"),
    ("motd file = /etc/motd", "no greeting"),
    ("lock file = /run/x", ""),
    ("transfer logging = yes", ""),
    ("frobnicate = 3", "no counterpart"),
]


@pytest.mark.parametrize(("line", "told"), WITHOUT)
def test_what_has_no_counterpart_is_told_once_with_its_line(tmp_path, line, told):
    _, warnings = offers(read(tmp_path, f"{line}\n[a]\npath=/t\n[b]\npath=/u\n"))
    assert len(warnings) == bool(told)
    at = len(line.splitlines())
    assert not told or (warnings[0].startswith(f"{tmp_path}/rsyncd.conf:{at}: ") and told in warnings[0])


SERVED = [
    ("", {}),
    ("port = 8873", {"rsync": "[::]:8873"}),
    ("address = 192.0.2.1", {"rsync": "192.0.2.1:873"}),
    ("address = 2001:db8::1\nport=1", {"rsync": "[2001:db8::1]:1"}),
    ("max connections = 9", {"max_connections": 9}),
    ("uid = mirror\ngid = mirror", {"uid": "mirror", "gid": "mirror"}),
    ("refuse options = delete, checksum zl*", {"refuse_options": ("delete", "checksum", "zl*")}),
    ("auth digest = sha256", {"auth_digest": "sha256"}),
]


@pytest.mark.parametrize(("lines", "keys"), SERVED)
def test_what_is_said_of_the_daemon(tmp_path, lines, keys):
    assert serve(read(tmp_path, f"{lines}\n[a]\npath=/t\n")) == (keys, ())


def test_a_limit_that_modules_do_not_share_is_told(tmp_path):
    text = "max connections = 5\n[a]\npath=/t\n[b]\npath=/u\nmax connections = 7\n[c]\npath=/v\n"
    keys, (warning,) = serve(read(tmp_path, text))
    assert keys == {"max_connections": 5}
    assert warning.startswith(f"{tmp_path}/rsyncd.conf:6: max connections = 7 differs between modules")


@pytest.mark.parametrize("line", ["max connections = 0", "timeout = 0", "uid = %x", "auth digest = rot13"])
def test_a_value_of_the_daemon_that_we_cannot_have_is_told(tmp_path, line):
    keys, warnings = serve(read(tmp_path, f"{line}\n[a]\npath=/t\n"))
    assert keys == {} and warnings[0].startswith(f"{tmp_path}/rsyncd.conf:1: ")


def test_blanks_and_case_of_a_name_do_not_count():
    assert key(" Max  Connections\t") == "maxconnections"


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match=f"{tmp_path}/none: cannot be read: {os.strerror(2)}"):
        read_rsyncd(tmp_path / "none")
