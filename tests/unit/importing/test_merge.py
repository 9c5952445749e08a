from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pushmirror.archvsync_config.ftpsync import archive_name, read_ftpsync
from pushmirror.archvsync_config.places import ScriptPaths
from pushmirror.archvsync_config.runmirrors import read_runmirrors
from pushmirror.archvsync_config.values import Ftpsync, Runmirrors, Variables
from pushmirror.config.model import Access, PushKind, Site
from pushmirror.errors import ConfigError
from pushmirror.importing.merge import ImportedFiles, Merged, merge
from pushmirror.importing.rsyncd_conf import read_rsyncd, read_secrets
from pushmirror.push.trigger import words_to
from pushmirror.state.records import Stage

HOME = Path("/home/m")
PLACES = ScriptPaths((), HOME / "log", HOME / "lock", None)


def ftpsync(name: str = "ftpsync", **values: str) -> tuple[str, Ftpsync]:
    values = {"MIRRORNAME": "m.example.org", "RSYNC_HOST": "up.example.org", **values}
    variables = Variables(Path(f"/etc/{name}.conf"), values, {})
    archive = archive_name("", name, variables.get("TO", "/srv/mirrors/debian/"))
    secret = Path(f"/to/{archive}.secret")
    made = read_ftpsync(variables, name=name, archive=archive, places=PLACES, password_file=secret)
    return f"/etc/{name}.conf", made


def runmirrors(lines: str, name: str = "runmirrors", **values: str) -> tuple[str, str, Runmirrors]:
    variables = Variables(Path(f"/etc/{name}.conf"), {"KEYFILE": "/keys/one", **values}, {})
    option = name.partition("-")[2]
    made = read_runmirrors(
        variables, name=name, archive_option=option, places=PLACES, mirror_text=lines, home=HOME
    )
    return f"/etc/{name}.conf", f"/etc/{name}.mirror", made


HUB = ftpsync(HUB="true")
SECURITY = ftpsync("ftpsync-security", TO="/srv/mirrors/security/", RSYNC_PATH="debian-security", HUB="true")


def hub(*files: tuple[str, str, Runmirrors], **told: object) -> Merged:
    return merge(ImportedFiles(ftpsyncs=(HUB, SECURITY), runmirrors=files, **told))  # type: ignore[arg-type]


def served(directory: Path, modules: str, **secrets: str) -> dict[str, object]:
    """An rsyncd.conf with its secrets; "@" is their directory."""
    file = directory / "rsyncd.conf"
    file.write_text(modules.replace("@", str(directory)))
    for name, text in secrets.items():
        (directory / name).write_text(text)
    return {
        "rsyncd": read_rsyncd(file),
        "secrets": {directory / n: read_secrets(directory / n) for n in secrets},
    }


def sent(merged: Merged, archive: str) -> list[tuple[str, str, str]]:
    """Host, account and words of each trigger of stage 2."""
    return [
        (site.host, site.user, words_to(site, archive, Stage.ALL).strip())
        for site in merged.config.sites_of(archive)
    ]


def said(merged: Merged, *words: str) -> list[str]:
    """The warnings with all of these words."""
    return [warning for warning in merged.warnings if all(word in warning for word in words)]


# -- archives -----------------------------------------------------------------------------------------


def test_each_ftpsync_conf_is_an_archive_named_as_its_pushes_name_it():
    config = hub().config
    assert {name: str(one.path) for name, one in config.archives.items()} == {
        "debian": "/srv/mirrors/debian",
        "security": "/srv/mirrors/security",
    }
    assert config.mirror.name == "m.example.org"


def test_two_mirror_names_are_refused_and_both_named():
    other = ftpsync("ftpsync-x", TO="/srv/x", MIRRORNAME="other.example.org")
    with pytest.raises(ConfigError, match=r"found other\.example\.org, expected m\.example\.org"):
        merge(ImportedFiles((HUB, other)))


def test_what_else_of_the_mirror_differs_is_told():
    merged = merge(ImportedFiles((ftpsync(INFO_COUNTRY="DE"), ftpsync("ftpsync-x", TO="/srv/x"))))
    assert said(merged, "/etc/ftpsync-x.conf: country") and merged.config.mirror.country == "DE"


@pytest.mark.parametrize("to", ["/srv/mirrors/debian/", "/srv/mirrors/debian/x", "/srv/mirrors"])
def test_two_archives_in_one_tree_are_refused(to):
    with pytest.raises(ConfigError, match="in or around"):
        merge(ImportedFiles((HUB, ftpsync("ftpsync-x", TO=to))))


def test_two_files_for_one_archive_are_refused():
    with pytest.raises(ConfigError, match="another archive is already called"):
        merge(ImportedFiles((ftpsync(TO="/srv/security"), SECURITY)))


def test_a_password_is_for_a_file_and_in_no_repr():
    merged = merge(ImportedFiles((ftpsync(RSYNC_USER="u", RSYNC_PASSWORD="hunter2"),)))
    assert merged.passwords == {Path("/to/debian.secret"): "hunter2"}
    assert merged.config.archives["debian"].password_file == Path("/to/debian.secret")
    assert "hunter2" not in repr(merged)


def test_hooks_that_are_not_there_leave_no_trace_and_others_run_as_before():
    hooks = merge(
        ImportedFiles((HUB, ftpsync("ftpsync-x", TO="/srv/x", HOOK3="/bin/true a")))
    ).config.archives
    assert hooks["debian"].hooks == type(hooks["debian"].hooks)()
    assert hooks["x"].hooks.after_publish == ("/bin/true", "a") and hooks["x"].hooks.inherit_environment


# -- an owner -----------------------------------------------------------------------------------------


def test_an_owner_says_where_the_tree_is():
    told = ImportedFiles(
        runmirrors=(runmirrors("all a a.example.org m"),), trees={"debian": Path("/srv/debian")}
    )
    archive = merge(told).config.archives["debian"]
    assert (archive.upstream, archive.path) == (None, Path("/srv/debian"))


def test_an_owners_tree_may_be_that_of_its_module(tmp_path):
    told = ImportedFiles(
        runmirrors=(runmirrors("all a a.example.org m"),), **served(tmp_path, "[x]\npath=/srv/x\n")
    )
    assert merge(told).config.archives["x"].path == Path("/srv/x")


def test_an_owner_without_a_tree_is_asked_for_it():
    with pytest.raises(ConfigError) as error:
        merge(ImportedFiles(runmirrors=(runmirrors("all a a.example.org m", "runmirrors-bpo"),)))
    assert "/etc/runmirrors-bpo.conf" in str(error.value) and "--tree bpo=" in str(error.value.hint)


# -- sites --------------------------------------------------------------------------------------------

LINES = """\
all    one  one.example.org   archvsync
staged two  two.example.org   mirror    2 /keys/two
mhop   three three.example.org archvsync -p 2222
DELAY 90
all    four ssh+ftpsync://x@four.example.org/other
DELAY 60 stage1
staged five five.example.org  archvsync -4 -o A=b
"""


def test_every_line_is_a_site_that_is_sent_the_same():
    merged = hub(runmirrors(LINES), runmirrors("all six six.example.org m", "runmirrors-security"))
    assert sent(merged, "debian") == [
        ("one.example.org", "archvsync", "sync:archive: sync:all"),
        ("two.example.org", "mirror", "sync:archive: sync:all"),
        ("three.example.org", "archvsync", "sync:archive: sync:mhop sync:all"),
        ("four.example.org", "x", "sync:archive:other sync:all"),
        ("five.example.org", "archvsync", "sync:archive: sync:all"),
    ]
    assert sent(merged, "security") == [("six.example.org", "m", "sync:archive:security sync:all")]


def test_kinds_keys_ports_options_and_delays_are_kept():
    sites = hub(runmirrors(LINES)).config.sites
    kinds = [site.push for site in sites.values()]
    assert kinds == [*map(PushKind, ("all", "staged", "mhop", "all", "staged"))]
    assert (sites["one"].key, sites["two"].key) == (None, Path("/keys/two"))
    assert (sites["three"].port, sites["three"].ssh_options) == (2222, ())
    assert sites["five"].ssh_options == ("-4", "-o", "A=b")
    waits = [[wait.at_most for wait in site.delay] for site in sites.values()]
    minute = timedelta(seconds=60)
    assert waits == [[], [], [], [minute * 1.5], [minute * 1.5, minute]]


def test_callbacks_the_key_and_the_deadline_are_kept():
    merged = hub(runmirrors("all a a.example.org m", PUSHCB="true", PUSHDELAY="77"))
    assert (merged.config.push.key, merged.config.push.deadline.total_seconds()) == (Path("/keys/one"), 77)
    assert sent(merged, "debian") == [("a.example.org", "m", "sync:archive: sync:callback sync:all")]


def test_ssh_opts_are_every_sites_but_host_keys_are_checked():
    files = runmirrors("all a a m -4\nall b b m", SSH_OPTS="-o StrictHostKeyChecking=no -o ProxyJump=gate")
    merged = hub(files, variables={"/etc/runmirrors.conf": ["SSH_OPTS"]})
    options = [site.ssh_options for site in merged.config.sites.values()]
    assert options == [("-o", "ProxyJump=gate", "-4"), ("-o", "ProxyJump=gate")]
    assert len(said(merged, "StrictHostKeyChecking=no intentionally has no counterpart")) == 1


def test_what_the_script_says_by_itself_is_not_told_as_the_operators_words():
    merged = hub(runmirrors("all a a m"))
    assert not said(merged, "SSH_OPTS") and not said(merged, "MAILTO")
    assert merged.config.sites["a"].ssh_options == ()


def test_one_site_in_two_files_is_one_site_with_two_archives():
    merged = hub(
        runmirrors("all a a m\nall b b m"), runmirrors("all a a m\nall x b m", "runmirrors-security")
    )
    assert {name: site.archives for name, site in merged.config.sites.items()} == {
        "a": ("debian", "security"),
        "b": ("debian", "security"),
    }
    assert sent(merged, "security")[0] == ("a", "m", "sync:archive:security sync:all")
    assert sent(merged, "debian")[0] == ("a", "m", "sync:archive: sync:all")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("staged a a m", "push"),
        ("all a other m", "host"),
        ("all a a m -4", "ssh_options"),
        ("all a a n", "user"),
    ],
)
def test_a_site_that_differs_between_two_files_is_two_sites_and_told(line, why):
    merged = hub(runmirrors("all a a m"), runmirrors(line, "runmirrors-security"))
    assert [*merged.config.sites] == ["a", "a-security"]
    assert said(merged, "/etc/runmirrors-security.mirror: a is a site of its own", why)


def test_a_runmirrors_conf_that_pushes_nobody_is_left_out_and_told():
    merged = merge(ImportedFiles((ftpsync(),), (runmirrors("# nobody\n", "runmirrors-x"),)))
    assert [*merged.config.archives] == ["debian"]
    assert said(merged, "/etc/runmirrors-x.mirror names no mirror")


def test_one_account_for_one_archive_is_pushed_once():
    merged = hub(runmirrors("all a ssh+ftpsync://m@h/one\nall b ssh+ftpsync://m@h/two"))
    assert [*merged.config.sites] == ["a"] and said(merged, "b is left out")


def test_hooks_of_runmirrors_are_those_around_a_push():
    merged = hub(runmirrors("all a a m", HOOK1="/bin/before", HOOK2="/bin/between", HOOK3="/bin/after x"))
    hooks = merged.config.archives["debian"].hooks
    assert (hooks.before_push, hooks.after_push) == (("/bin/before",), ("/bin/after", "x"))
    assert said(merged, "/etc/runmirrors.conf: HOOK2 is left out")


@pytest.mark.parametrize(
    ("is_hub", "files", "told"),
    [
        ("true", (), "HUB=true, but no runmirrors.mirror with sites of debian"),
        ("false", (runmirrors("all a a m"),), "HUB is not true, but"),
    ],
)
def test_a_hub_and_its_sites_belong_together(is_hub, files, told):
    assert said(merge(ImportedFiles((ftpsync(HUB=is_hub),), files)), told)


# -- the rsync daemon ---------------------------------------------------------------------------------

MODULES = """\
[debian]
path = /srv/mirrors/debian/
auth users = *
secrets file = @/one
[debian-security]
path = /srv/mirrors/./security
auth users = b.example.org, reader
secrets file = @/two
[open]
path = /srv/open
"""
ONE, TWO = "a:pa\nb.example.org:pb\nreader:pr\n", "b.example.org:pb\nreader:pr\nnobody:pn\n"


def test_a_module_is_the_archive_that_has_its_tree_and_keeps_its_own_name(tmp_path):
    archives = hub(**served(tmp_path, MODULES, one=ONE, two=TWO)).config.archives
    found = {name: (one.module_name, one.access) for name, one in archives.items()}
    assert found == {
        "debian": ("debian", Access.SITES),
        "security": ("debian-security", Access.SITES),
        "open": ("open", Access.OPEN),
    }


def test_a_tree_is_found_through_links(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    told = ImportedFiles((ftpsync(TO=f"{tmp_path}/tree/"),), **served(tmp_path, "[ftp]\npath = @/link\n"))
    assert merge(told).config.archives["tree"].module == "ftp"


def test_an_archive_without_a_module_is_offered_to_nobody(tmp_path):
    config = hub(**served(tmp_path, "[debian]\npath=/srv/mirrors/debian\n")).config
    assert config.archives["security"].access is Access.NONE


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ("[debian]\npath=/srv/mirrors/debian\n[d2]\npath=/srv/mirrors/debian/\n", "[d2] is left out"),
        ("[all]\npath=/srv/mirrors\n", "[all] is left out: /srv/mirrors and"),
        ("[dists]\npath=/srv/mirrors/debian/dists\n", "[dists] is left out"),
        ("[b c]\npath=/srv/x\n", "[b c] is left out: expected letters"),
        ("[all]\npath=/\n", "[all] is left out: "),
        ("[tab]\npath=/srv/a\tb\n", "[tab] is left out: path: "),
        (f"[{'n' * 101}]\npath=/srv/x\n", "is left out: expected letters"),
    ],
)
def test_a_module_that_cannot_be_offered_is_told(tmp_path, modules, told):
    assert said(hub(**served(tmp_path, modules)), f"{tmp_path}/rsyncd.conf:", told)


def test_a_root_directory_alone_is_left_out_too(tmp_path):
    merged = merge(ImportedFiles(**served(tmp_path, "[all]\npath = /\n[b]\npath=/srv/b\n")))
    assert [*merged.config.archives] == ["b"] and said(merged, "[all] is left out: path: ")


def test_a_name_that_two_modules_would_have_is_free(tmp_path):
    modules = "[x]\npath=/srv/1\n[X-module]\npath=/srv/2\n[debian]\npath=/srv/3\n[x-module]\npath=/srv/4\n"
    told = ImportedFiles(trees={"X": Path("/srv/0"), "x-module": Path("/srv/5")}, **served(tmp_path, modules))
    archives = merge(told).config.archives
    assert len({name.casefold() for name in archives}) == len(archives) == 5


@pytest.mark.parametrize(("name", "path"), [("a b", "/srv/x"), ("x", "/srv/a\tb"), ("x", "/")])
def test_an_owners_module_that_cannot_be_ours_is_an_error_with_its_place(tmp_path, name, path):
    told = ImportedFiles(
        runmirrors=(runmirrors("all a a.example.org m"),), **served(tmp_path, f"[{name}]\npath={path}\n")
    )
    with pytest.raises(ConfigError, match=r"/etc/runmirrors\.conf: invalid archive") as error:
        merge(told)
    assert "--tree" in str(error.value.hint)


def reading(merged: Merged) -> dict[str, set[str]]:
    """Who may read what with which password."""
    sites = merged.config.sites
    return {
        f"{name}:{word}": {*sites[name].archives, *sites[name].reads} for name, word in merged.logins.items()
    }


def test_everybody_reads_what_they_read_with_the_same_password(tmp_path):
    lines = runmirrors("all a a.example.org m\nall bee b.example.org m")
    merged = hub(lines, **served(tmp_path, MODULES, one=ONE, two=TWO))
    assert reading(merged) == {
        "a:pa": {"debian"},
        "b.example.org:pb": {"debian", "security"},
        "reader:pr": {"debian", "security"},
    }
    assert said(merged, f"{tmp_path}/two: the user nobody has access to no imported module")


def test_a_site_is_called_as_its_user_and_is_woken_for_what_it_was(tmp_path):
    merged = hub(runmirrors("all bee b.example.org m"), **served(tmp_path, MODULES, one=ONE, two=TWO))
    site = merged.config.sites["b.example.org"]
    assert (site.archives, site.reads, site.push) == (("debian",), ("security",), PushKind.ALL)
    assert said(merged, "bee is b.example.org")


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("all eu.reader reader.example.org m", "reader"),  # the first label of its host
        ("all eu.reader x.example.org reader", "reader"),  # its account
        ("all r x.example.org reader\nall s y.example.org reader", "r"),  # which two have
    ],
)
def test_a_site_is_known_by_a_lesser_sign_that_it_alone_has(tmp_path, lines, name):
    merged = hub(runmirrors(lines), **served(tmp_path, MODULES, one=ONE, two=TWO))
    woken = [site.name for site in merged.config.sites.values() if site.push is PushKind.ALL]
    assert woken[0] == name and len(woken) == len(lines.splitlines())


def test_a_user_without_a_line_is_a_site_that_is_not_woken(tmp_path):
    site = hub(**served(tmp_path, MODULES, one=ONE, two=TWO)).config.sites["reader"]
    expected = {"push": "none", "archives": ["debian", "security"], "user": "nobody", "host": "reader"}
    assert site == Site.model_validate({"name": "reader", **expected})


WRONG_USERS = [
    ("a b:hunter1\n", "", "the user 'a b' cannot log in"),
    ("-a:hunter1\n", "", "the user '-a' cannot log in"),
    ("a:hunter1\nA:hunter2\n", "", "the user A cannot log in: its name differs from a only in case"),
    ("a:hunter1\n", "a:hunter2\n", "the user a has different passwords for its modules"),
]


@pytest.mark.parametrize(("one", "two", "told"), WRONG_USERS)
def test_a_user_that_we_cannot_have_is_told_and_no_password_is(tmp_path, one, two, told):
    modules = MODULES.replace("b.example.org, reader", "*")
    merged = hub(**served(tmp_path, modules, one=one, two=two))
    (warning,) = said(merged, told)
    assert str(tmp_path) in warning and "hunter" not in repr(merged)


@pytest.mark.parametrize("one", ["site1:hunter1\nSITE1:hunter2\n", "SITE1:hunter2\nsite1:hunter1\n"])
@pytest.mark.parametrize("lines", ["all site1 h m", "all other h m"])
def test_of_two_users_that_differ_in_case_the_sites_own_counts_and_one_is_told_once(tmp_path, one, lines):
    merged = hub(runmirrors(lines), **served(tmp_path, MODULES, one=one, two=""))
    kept = "site1" if "site1 h" in lines else one[:5]
    assert [*merged.logins] == [kept]
    (warning,) = (one for one in merged.warnings if "site1" in one.casefold() and "no password" not in one)
    assert f"its name differs from {kept} only in case" in warning


def test_a_user_is_the_site_whose_name_differs_in_case_only(tmp_path):
    merged = hub(runmirrors("all site1 h m"), **served(tmp_path, MODULES, one="SITE1:p\n", two=""))
    assert [*merged.config.sites] == ["SITE1"] and said(merged, "site1 is SITE1")
    assert merged.logins == {"SITE1": "p"}


def test_a_site_without_a_password_is_told(tmp_path):
    merged = hub(runmirrors("all c c.example.org m"), **served(tmp_path, MODULES, one=ONE, two=TWO))
    assert said(merged, "site c has no password for debian: pushmirror site rotate c")


def test_two_sites_of_one_machine_need_one_password(tmp_path):
    files = (runmirrors("all a a m"), runmirrors("all a a other", "runmirrors-security"))
    modules = MODULES.replace("b.example.org, reader", "*")
    merged = hub(*files, **served(tmp_path, modules, one="a:pa\n", two="a:pa\n"))
    assert reading(merged) == {"a:pa": {"debian", "security"}} and not said(merged, "has no password")


def test_main_archives_that_pushes_would_not_mean_are_told():
    told = ImportedFiles((ftpsync(TO="/srv/ubuntu"), ftpsync("ftpsync-debian")))
    assert said(merge(told), "a push that names no archive is for debian here, not for ubuntu")


def test_mails_are_told_once_for_each_address():
    files = (ftpsync(MAILTO="a@b c@d"), ftpsync("ftpsync-x", TO="/srv/x", MAILTO="a@b c@d"))
    merged = merge(ImportedFiles(files, variables={place: ["MAILTO"] for place, _ in files}))
    (warning,) = said(merged, "MAILTO")
    assert warning.startswith(
        "/etc/ftpsync.conf, /etc/ftpsync-x.conf: MAILTO: pushmirror sends no mail to a@b, c@d;"
    )


def test_who_only_reads_does_not_make_a_hub(tmp_path):
    told = ImportedFiles((ftpsync(),), **served(tmp_path, MODULES, one=ONE, two=TWO))
    assert not said(merge(told), "HUB")
