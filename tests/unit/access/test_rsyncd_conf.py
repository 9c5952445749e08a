from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.access import rsyncd_conf
from pushmirror.access.rsyncd_conf import DaemonFacts, DaemonPaths
from pushmirror.config import problems
from pushmirror.config.model import Archive, Config, Site
from pushmirror.errors import ConfigError

PLACES = DaemonPaths(Path("/state/rsyncd"))
ROOT = DaemonFacts((3, 5, 0), root=True, ipv6=True)
USER = DaemonFacts((3, 5, 0), root=False, ipv6=True)
OLD = DaemonFacts((3, 2, 3), root=False, ipv6=True)


def config(*, serve=None, sites=(), state=None, **archive):
    table = {"name": "debian", "path": "/srv/debian", **archive}
    found = {name: {"name": name, "host": name, "user": "m", "archives": ["debian"]} for name in sites}
    return Config.model_validate(
        {"archives": {table["name"]: table}, "serve": serve or {}, "state": state or {}, "sites": found}
    )


def rendered(facts=ROOT, logins=None, **keys):
    return rsyncd_conf.render(config(**keys), logins or {}, PLACES, facts).splitlines()


def test_roots_daemon_is_locked_into_the_tree_as_nobody():
    assert {"use chroot = yes", "uid = nobody", "gid = nogroup"} <= {*rendered(ROOT)}


@pytest.mark.parametrize(("facts", "said"), [(USER, []), (OLD, ["use chroot = no"])])
def test_a_users_daemon_tries_to_lock_itself_in_where_rsync_may_go_on_without(facts, said):
    assert [line for line in rendered(facts) if line.startswith(("use chroot", "uid", "gid"))] == said


def test_the_logins_of_the_archives_sites_are_let_in_in_the_order_of_their_names():
    logins = {"b.example.org": ["b.example.org"], "a.example.org": ["a.example.org", "a.example.org+2"]}
    lines = rendered(logins=logins, sites=("b.example.org", "a.example.org"))
    assert "auth users = a.example.org a.example.org+2 b.example.org" in lines


def test_logins_of_sites_without_the_archive_are_not_let_in():
    assert "auth users = *:deny" in rendered(logins={"other.example.org": ["other.example.org"]})


@pytest.mark.parametrize("sites", [(), ("a.example.org",)])
def test_an_archive_for_sites_without_any_login_is_closed_not_open(sites):
    lines = rendered(sites=sites)
    assert "auth users = *:deny" in lines and "auth users =" not in lines


def test_a_paused_site_and_one_that_is_not_pushed_may_read():
    table = {"host": "a", "user": "m", "archives": ["debian"]}
    sites = {"a": {"name": "a", **table, "paused": True}, "b": {"name": "b", **table, "push": "none"}}
    found = Config.model_validate(
        {"archives": {"debian": {"name": "debian", "path": "/srv"}}, "sites": sites}
    )
    lines = rsyncd_conf.render(found, {"a": ["a"], "b": ["b"]}, PLACES, ROOT).splitlines()
    assert "auth users = a b" in lines


def test_an_open_archive_asks_for_no_password():
    assert not [line for line in rendered(access="open") if line.startswith(("auth users", "secrets"))]


def test_an_archive_for_nobody_is_no_module():
    assert "[debian]" not in rendered(access="none")


def section(lines, name):
    """The settings of one module."""
    start = lines.index(f"[{name}]") + 1
    return lines[start : [*lines, ""].index("", start)]


def test_an_archives_manifest_is_a_module_beside_it_for_the_same_readers():
    options = {"sites": ["a"], "logins": {"a": ["a", "a+2"]}, "hosts_allow": ["192.0.2.0/24"]}
    lines = rendered(**options, state={"directory": "/state"})
    own, beside = section(lines, "debian"), section(lines, "debian.manifest")
    readers = ["hosts allow = 192.0.2.0/24", "auth users = a a+2", "secrets file = /state/rsyncd/secrets"]
    assert own[-3:] == beside[-3:] == readers
    assert {"path = /state/manifests/debian", "list = no", "exclude = *.new *.next"} <= {*beside}


def test_the_manifest_of_an_open_archive_is_open():
    assert not [line for line in section(rendered(access="open"), "debian.manifest") if "auth" in line]


def test_the_module_of_a_manifest_follows_the_archives():
    assert "[deb.manifest]" in rendered(module="deb")


@pytest.mark.parametrize("keys", [{"manifest": False}, {"access": "none"}])
def test_no_module_for_a_manifest_that_nobody_may_read(keys):
    assert not [line for line in rendered(**keys) if ".manifest]" in line]


def test_the_lock_of_a_manifest_is_that_of_no_archive():
    assert PLACES.manifest_lock("debian") != PLACES.lock("debian.manifest")


def test_the_work_areas_are_hidden_and_the_flags_are_not():
    assert "exclude = .~tmp~ .~tmp~/***" in rendered()


def test_every_module_has_its_own_lock_file_so_that_the_limit_is_its_own():
    assert "lock file = /state/rsyncd/debian.lock" in rendered()


@pytest.mark.parametrize(
    ("rsync", "said"),
    [
        ("[::]:873", ["port = 873"]),
        ("0.0.0.0:8730", ["port = 8730", "address = 0.0.0.0"]),
        ("[2001:db8::1]:873", ["port = 873", "address = 2001:db8::1"]),
    ],
)
def test_the_address_to_listen_on(rsync, said):
    lines = rendered(serve={"rsync": rsync})
    assert [line for line in lines if line.startswith(("port", "address"))] == said


def test_a_port_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="from 1 to 65535"):
        rendered(serve={"rsync": "[::]:65536"})


def test_the_weakest_digest_is_written_for_an_rsync_that_knows_it():
    assert "auth digest = sha256" in rendered(serve={"auth_digest": "sha256"})


def test_a_digest_that_this_rsync_would_not_insist_on_is_refused():
    with pytest.raises(ConfigError, match=r"auth_digest: found \"sha256\", which needs rsync 3\.5\.0"):
        rendered(OLD, serve={"auth_digest": "sha256"})


def test_without_options_to_refuse_there_is_no_line_that_refuses_nothing():
    assert not [line for line in rendered(serve={"refuse_options": []}) if line.startswith("refuse")]


@pytest.mark.parametrize(
    ("peers", "looked_up"),
    [
        (["192.0.2.0/24"], False),
        (["2001:db8::/32"], False),
        (["site1.example.com"], False),
        (["*.example.com"], True),
        (["192.0.2.*"], False),
    ],
)
def test_names_of_clients_are_looked_up_only_where_a_pattern_of_names_needs_it(peers, looked_up):
    lines = rendered(hosts_allow=peers)
    assert f"hosts allow = {peers[0]}" in lines
    assert ("reverse lookup = yes" in lines) is looked_up


@pytest.mark.parametrize(
    ("comment", "what"),
    [
        ("our %PATH% of pain", "variable"),
        ("%RSYNC_USER_NAME%", "variable"),
        ("ends so \\", "ends in a backslash"),
    ],
)
def test_a_comment_that_rsync_would_read_otherwise_is_refused(comment, what):
    with pytest.raises(ConfigError, match=f"archives.debian.comment: .*{what}"):
        rendered(comment=comment)


@pytest.mark.parametrize("comment", ["100% pure", "50%-60%", "%lower%", "# no comment", "a = b", "[x]"])
def test_a_comment_that_only_looks_special_is_kept(comment):
    assert f"comment = {comment}" in rendered(comment=comment)


def test_a_path_of_which_rsync_would_make_another_is_refused():
    with pytest.raises(ConfigError, match=r"archives\.debian\.path: .*variable"):
        rendered(path="/srv/%HOME%/debian")


@pytest.mark.parametrize(("path", "written"), [("/srv/a ", "/srv/a /"), ("/srv/a\\", "/srv/a\\/")])
def test_the_end_of_a_path_is_kept_by_a_slash(path, written):
    assert f"path = {written}" in rendered(path=path)


@pytest.mark.parametrize("name", ["global", "Global"])
def test_an_archive_whose_name_means_something_to_rsync_is_refused(name):
    with pytest.raises(ConfigError, match="special meaning"):
        rsyncd_conf.render(config(name=name), {}, PLACES, ROOT)


def test_a_module_may_have_another_name_than_its_archive():
    text = rendered(module="debian-security")
    assert "[debian-security]" in text and "[debian]" not in text


def test_two_archives_cannot_be_one_module():
    archives = {name: Archive(name=name, path=f"/srv/{name}", module="one") for name in ("a", "b")}
    found = problems.of_archives(Path("x.toml"), archives, archives.keys())
    assert found == ['x.toml: archives.b.module: found "one", the module of archives.a, expected another']


@pytest.mark.parametrize("name", ["a.manifest", "A.Manifest"])
@pytest.mark.parametrize(("offered", "wrong"), [({}, True), ({"manifest": False}, False)])
def test_an_archive_cannot_be_the_module_of_anothers_manifest(name, offered, wrong):
    archives = {
        "a": Archive(name="a", path="/srv/a", **offered),
        "b": Archive(name="b", path="/srv/b", module=name),
    }
    found = problems.of_archives(Path("x.toml"), archives, archives.keys())
    assert bool(found) is wrong and all(
        line.startswith(f'x.toml: archives.b.module: found "{name}"') for line in found
    )


def test_a_site_may_read_an_archive_that_it_is_not_woken_for():
    site = {"name": "a", "host": "a", "user": "m", "archives": ("other",), "reads": ("debian",)}
    made = config().model_copy(update={"sites": {"a": Site.model_validate(site)}})
    assert "auth users = a" in rsyncd_conf.render(made, {"a": ["a"]}, PLACES, ROOT).splitlines()
    assert made.sites_of("debian") == []
