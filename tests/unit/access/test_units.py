from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pushmirror import system
from pushmirror.access import units
from pushmirror.access.rsyncd_conf import DaemonPaths
from pushmirror.access.units import Kind, UnitContext
from pushmirror.config.model import Config
from pushmirror.errors import ConfigError
from pushmirror.system import process

PLACES = DaemonPaths(Path("/var/lib/mirror/rsyncd"))
MIRROR = UnitContext(
    "archvsync", "archvsync", "/usr/local/bin/pushmirror", "/usr/bin/rsync", "/usr/bin/stunnel4"
)
ROOT = UnitContext("root", "root", "/usr/local/bin/pushmirror", "/usr/bin/rsync", "/usr/bin/stunnel4")
TLS = {"certificate": "/etc/cert.pem", "certificate_key": "/etc/key.pem"}


SECTIONS = ("archives", "sites", "state", "push")


def rendered(kind, *, setting=MIRROR, places=PLACES, source="/etc/pushmirror/pushmirror.toml", **options):
    """The text for a configuration; options are its sections, or keys of [serve]."""
    given = {"archives": {"debian": {"name": "debian", "path": "/srv/debian"}}, "source": source}
    given |= {name: options.pop(name) for name in SECTIONS if name in options}
    return units.render(kind, Config.model_validate({**given, "serve": options}), places, setting)


def value_of(text, key):
    """The words of a setting, the same in each unit of the text."""
    (value,) = {line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")}
    return value.split()


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
def test_root_needs_no_capabilities_given_and_may_give_its_power_away(kind):
    text = rendered(kind, setting=ROOT)
    assert "AmbientCapabilities" not in text
    assert {"CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"} <= set(value_of(text, "CapabilityBoundingSet"))


def test_serve_writes_its_state_its_database_and_known_hosts_and_nothing_else():
    text = rendered(
        Kind.SYSTEMD,
        state={"directory": "/srv/state", "database": "sqlite:////srv/db/state.sqlite"},
        push={"known_hosts": "/srv/my keys/100%/known_hosts"},
    )
    assert "ReadWritePaths=/srv/state /srv/db '/srv/my keys/100%%'\n" in text
    assert "ProtectSystem=strict\n" in text


@pytest.mark.parametrize("kind", [Kind.SYSTEMD, Kind.SOCKET])
def test_rsync_may_call_chroot_beside_what_services_call(kind):
    assert value_of(rendered(kind), "SystemCallFilter") == ["@system-service", "chroot"]


HOOK = {"archives": {"debian": {"name": "debian", "path": "/srv/debian", "hooks": {"after_push": ["mail"]}}}}
SITE = {"name": "a.org", "host": "a.org", "user": "u", "archives": ["debian"], "ssh_options": ["-J", "gate"]}
THROUGH_SSH = {"sites": {"a.org": SITE}}


@pytest.mark.parametrize("foreign", [HOOK, THROUGH_SSH])
def test_what_runs_programs_of_the_operator_may_write_and_call_what_they_need(foreign):
    text = rendered(Kind.SYSTEMD, setting=ROOT, **foreign)
    assert "run in this service" in text and "NoNewPrivileges=yes\n" in text
    for limit in ("SystemCallFilter", "=strict", "MemoryDeny", "PrivateTmp", "Capabilit", "Families"):
        assert limit not in text


def test_hooks_of_a_sync_are_not_run_by_serve():
    hooks = {"before_sync": ["true"], "after_publish": ["true"]}
    text = rendered(Kind.SYSTEMD, archives={"d": {"name": "d", "path": "/srv/d", "hooks": hooks}})
    assert "ProtectSystem=strict\n" in text


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
    with pytest.raises(ConfigError, match="which inetd does not allow"):
        rendered(Kind.INETD, places=DaemonPaths(Path("/var/lib/my mirror/rsyncd")))


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


def written(directory, setting):
    """Files with all units of the two kinds; what they start is there."""
    program = UnitContext(setting.user, setting.group, "/bin/true", "/bin/true", "/bin/true")
    files = []
    for text in (rendered(Kind.SYSTEMD, setting=program), rendered(Kind.SOCKET, setting=program, **TLS)):
        for unit in text.split("# /etc/systemd/system/")[1:]:
            name, _, body = unit.partition("\n")
            files.append(directory / name)
            files[-1].write_text(body)
    return files


needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")


@needs_systemd
@pytest.mark.parametrize("setting", [MIRROR, ROOT])
def test_systemd_finds_no_mistake_in_the_units(tmp_path, setting):
    result = process.run(["systemd-analyze", "verify", *map(str, written(tmp_path, setting))], timeout_s=60)
    complaints = [line for line in result.errors.splitlines() if "pushmirror" in line]
    assert complaints == []


@needs_systemd
@pytest.mark.parametrize(("setting", "most"), [(MIRROR, 25), (ROOT, 33)])
def test_systemd_finds_the_services_little_exposed(tmp_path, setting, most):
    services = [str(file) for file in written(tmp_path, setting) if file.suffix == ".service"]
    argv = ["systemd-analyze", "security", "--offline=true", f"--threshold={most}", "--no-pager", *services]
    result = process.run(argv, timeout_s=60)
    assert result.exit_code == 0, result.output.decode()


#: What pushmirror, Python, rsync, ssh and stunnel need beyond the simplest.
CALLED = {
    *("chroot", "clone3", "close_range", "copy_file_range", "epoll_pwait", "execve", "fallocate", "fchmodat"),
    *("fdatasync", "flock", "fsync", "futex", "getdents64", "getrandom", "inotify_init1", "ioctl", "kill"),
    *("linkat", "mkdirat", "openat", "openat2", "pidfd_open", "pidfd_send_signal", "pipe2", "prctl"),
    *(
        "readlinkat",
        "renameat2",
        "sendfile",
        "setgid",
        "setgroups",
        "setresgid",
        "setresuid",
        "setsid",
        "setuid",
    ),
    *(
        "socket",
        "socketpair",
        "splice",
        "statx",
        "symlinkat",
        "sync_file_range",
        "syncfs",
        "umask",
        "unlinkat",
    ),
    *("utimensat", "vfork", "wait4", "waitid"),
}


def test_what_is_called_past_python_is_among_the_system_calls_known_here():
    sources = [file.read_text() for file in Path(system.__file__).parent.glob("*.py")]
    called = {name for text in sources for name in re.findall(r"(?:libc|CDLL\(None\))\.(\w+)\(", text)}
    assert called and called - {"syscall"} <= CALLED


@needs_systemd
@pytest.mark.parametrize("kind", [Kind.SYSTEMD, Kind.SOCKET])
def test_the_system_calls_that_we_make_are_let_through(kind):
    assert calls(value_of(rendered(kind), "SystemCallFilter")) >= CALLED


def calls(words):
    """The system calls of a filter, as this machine's systemd understands it."""
    groups = [word for word in words if word.startswith("@")]
    found = set(words) - set(groups)
    for group in groups:
        told = process.run(["systemd-analyze", "--no-pager", "syscall-filter", group], timeout_s=60).check()
        found |= calls([line.strip() for line in told.output.decode().splitlines()[1:] if "#" not in line])
    return found
