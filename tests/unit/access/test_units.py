from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pushmirror.access import units
from pushmirror.access.rsyncd import Places
from pushmirror.access.units import Kind, Setting
from pushmirror.config.model import Config
from pushmirror.errors import ConfigError
from pushmirror.system import process

PLACES = Places(Path("/var/lib/mirror/rsyncd"))
MIRROR = Setting("archvsync", "archvsync", "/usr/local/bin/pushmirror", "/usr/bin/rsync", "/usr/bin/stunnel4")
ROOT = Setting("root", "root", "/usr/local/bin/pushmirror", "/usr/bin/rsync", "/usr/bin/stunnel4")
TLS = {"certificate": "/etc/cert.pem", "certificate_key": "/etc/key.pem"}


def rendered(kind, *, setting=MIRROR, places=PLACES, source="/etc/pushmirror/pushmirror.toml", **serve):
    archives = {"debian": {"name": "debian", "path": "/srv/debian"}}
    config = Config.model_validate({"archives": archives, "serve": serve, "source": source})
    return units.render(kind, config, places, setting)


@pytest.mark.parametrize("kind", [Kind.SYSTEMD, Kind.SOCKET])
def test_a_user_may_lock_connections_in_and_nothing_else(kind):
    text = rendered(kind, rsync="[::]:8730", rsync_tls="[::]:8731")
    assert "User=archvsync\n" in text
    assert "AmbientCapabilities=CAP_SYS_CHROOT\nCapabilityBoundingSet=CAP_SYS_CHROOT\n" in text


def test_a_user_who_listens_on_a_low_port_may_do_that():
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_SYS_CHROOT\n" in rendered(Kind.SYSTEMD)


def test_systemd_listens_itself_so_the_connections_need_no_right_to_a_port():
    assert "CAP_NET_BIND_SERVICE" not in rendered(Kind.SOCKET)


@pytest.mark.parametrize("kind", [Kind.SYSTEMD, Kind.SOCKET])
def test_root_needs_no_capabilities_and_may_give_its_power_away(kind):
    assert "Capabilit" not in rendered(kind, setting=ROOT)


@pytest.mark.parametrize(("kind", "services"), [(Kind.SYSTEMD, 1), (Kind.SOCKET, 2)])
def test_each_unit_says_why_it_is_this_user(kind, services):
    text = rendered(kind, setting=ROOT, **TLS)
    assert text.count("# root, whose state is in /var/lib/mirror\nUser=root\n") == services


def test_the_service_runs_serve_with_this_configuration():
    assert "ExecStart=/usr/local/bin/pushmirror --config /etc/pushmirror/pushmirror.toml serve\n" in rendered(
        Kind.SYSTEMD
    )


@pytest.mark.parametrize(
    ("rsync", "stream"), [("[::]:873", "873"), ("[2001:db8::1]:873", "[2001:db8::1]:873")]
)
def test_the_socket_is_the_one_that_the_configuration_names(rsync, stream):
    assert f"ListenStream={stream}\n" in rendered(Kind.SOCKET, rsync=rsync)


def test_the_socket_lets_in_what_the_modules_do():
    assert "MaxConnections=60\n" in rendered(Kind.SOCKET, max_connections=40)


@pytest.mark.parametrize(("serve", "said"), [({}, False), (TLS, True)])
def test_a_service_for_tls_is_there_with_a_certificate(serve, said):
    assert ("pushmirror-rsync-tls.service" in rendered(Kind.SOCKET, **serve)) is said


def test_inetd_gets_a_line_for_each_family_with_the_owner_as_the_user():
    assert rendered(Kind.INETD).splitlines()[1:] == [
        f"rsync stream {family} nowait archvsync "
        "/usr/bin/rsync rsyncd --daemon --config=/var/lib/mirror/rsyncd/rsyncd.conf"
        for family in ("tcp", "tcp6")
    ]


@pytest.mark.parametrize(
    ("rsync", "begins"),
    [
        ("[::]:8730", "8730 stream tcp "),
        ("192.0.2.1:873", "192.0.2.1:rsync stream tcp "),
        ("[2001:db8::1]:873", "[2001:db8::1]:rsync stream tcp6 "),
    ],
)
def test_inetd_listens_where_the_configuration_says(rsync, begins):
    assert rendered(Kind.INETD, rsync=rsync).splitlines()[1].startswith(begins)


def test_inetd_cannot_have_a_blank_in_a_path():
    with pytest.raises(ConfigError, match="which inetd cannot have"):
        rendered(Kind.INETD, places=Places(Path("/var/lib/my mirror/rsyncd")))


def test_the_log_is_rotated_as_its_owner():
    text = rendered(Kind.LOGROTATE)
    assert '"/var/lib/mirror/rsyncd/transfers.log" {' in text and "su archvsync archvsync" in text


def test_the_log_of_tls_is_rotated_with_it():
    text = rendered(Kind.LOGROTATE, **TLS)
    assert '"/var/lib/mirror/rsyncd/transfers.log" "/var/lib/mirror/rsyncd/stunnel.log" {\n' in text


@pytest.mark.parametrize(
    ("kind", "how"), [(Kind.SOCKET, "ExecReload=/bin/kill -HUP $MAINPID\n"), (Kind.INETD, "send it a HUP")]
)
def test_who_starts_tls_is_told_how_a_renewed_certificate_is_read(kind, how):
    assert how in rendered(kind, **TLS) and how not in rendered(kind)


def test_a_path_means_itself_to_systemd():
    text = rendered(Kind.SYSTEMD, source="/etc/my mirror/100%/$x/pushmirror.toml")
    assert "'/etc/my mirror/100%%/$$x/pushmirror.toml'" in text


@pytest.mark.parametrize("setting", [MIRROR, ROOT])
def test_systemd_finds_no_mistake_in_the_units(tmp_path, setting):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    program = Setting(setting.user, setting.group, "/bin/true", "/bin/true", "/bin/true")
    written = []
    for text in (rendered(Kind.SYSTEMD, setting=program), rendered(Kind.SOCKET, setting=program, **TLS)):
        for unit in text.split("# /etc/systemd/system/")[1:]:
            name, _, body = unit.partition("\n")
            written.append(tmp_path / name)
            written[-1].write_text(body)
    result = process.run(["systemd-analyze", "verify", *map(str, written)], timeout_s=60)
    complaints = [line for line in result.errors.splitlines() if "pushmirror" in line]
    assert complaints == []
