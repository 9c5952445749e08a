"""Pinned host keys: read as OpenSSH reads them, never lost, never replaced by themselves."""

import base64
import hashlib
import hmac
import stat
import sys
from contextlib import ExitStack
from pathlib import Path

import asyncssh
import pytest

from pushmirror.errors import HostKeyChanged, PushmirrorError
from pushmirror.lab.services import wait_until
from pushmirror.push.ssh import known_hosts
from pushmirror.push.ssh.known_hosts import entry_name, pin, pinned, pins_of, unpin, without
from pushmirror.system import locks, process

HOST = "site1.example.com"


def a_key(algorithm: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(algorithm).convert_to_public()


ONE, OTHER, ECDSA = a_key(), a_key(), a_key("ecdsa-sha2-nistp256")


def text_of(key: asyncssh.SSHKey) -> str:
    return key.export_public_key("openssh").decode().strip()


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("site1.example.com", None, "site1.example.com"),
        ("Site1.Example.COM", 22, "site1.example.com"),
        ("site1.example.com", 2222, "[site1.example.com]:2222"),
        ("2001:db8::1", 22, "2001:db8::1"),
        ("2001:db8::1", 2222, "[2001:db8::1]:2222"),
    ],
)
def test_a_host_has_the_name_that_openssh_gives_it(host: str, port: int | None, name: str) -> None:
    assert entry_name(host, port) == name


@pytest.mark.parametrize(
    "names",
    [
        HOST,
        f"other.example.com,{HOST},192.0.2.1",
        hashed(HOST),
        "*.example.com",
        "*.example.com,!site2.example.com",
    ],
)
def test_a_host_is_found_however_its_line_names_it(names: str) -> None:
    pins = pins_of(f"# by hand\n\n{names} {text_of(ONE)} a comment\n", HOST, 22)
    assert [(pin.line, pin.key) for pin in pins.trusted] == [(3, ONE)]


@pytest.mark.parametrize(
    "line",
    [
        "site2.example.com KEY",
        f"[{HOST}]:2222 KEY",
        f"*.example.com,!{HOST} KEY",
        f"{hashed('site2.example.com')} KEY",
        f"# {HOST} KEY",
        f"{HOST} ssh-ed25519 garbage",
        HOST,
        "|1|broken KEY",
        "|1|%%%|%%% KEY",
        f"@unheard-of {HOST} KEY",
    ],
)
def test_a_line_of_another_host_or_that_cannot_be_read_counts_for_nothing(line: str) -> None:
    assert pins_of(line.replace("KEY", text_of(ONE)), HOST, 22).is_new


def test_a_host_may_show_any_of_its_keys_but_no_other() -> None:
    pins = pins_of(f"{HOST} {text_of(ONE)}\n{HOST} {text_of(ECDSA)}\n", HOST, 22)
    assert (pins.has(ONE), pins.has(ECDSA), pins.has(OTHER)) == (True, True, False)


def test_a_revoked_key_is_not_good_though_it_is_pinned() -> None:
    pins = pins_of(f"{HOST} {text_of(ONE)}\n@revoked * {text_of(ONE)}\n", HOST, 22)
    assert not pins.has(ONE) and pins.revoked == (ONE,)


def test_a_host_with_a_certificate_authority_is_not_new() -> None:
    pins = pins_of(f"@cert-authority *.example.com {text_of(ONE)}\n", HOST, 22)
    assert not pins.is_new and not pins.has(ONE) and "cert" in pins.algorithms()[0]


def test_a_server_is_asked_for_the_pinned_type_first_and_for_all_others_too() -> None:
    names = pins_of(f"{HOST} {text_of(ECDSA)}\n", HOST, 22).algorithms()
    assert names[0] == "ecdsa-sha2-nistp256" and "ssh-ed25519" in names[1:]


def test_no_algorithm_that_signs_with_sha1_is_asked_for() -> None:
    assert "ssh-rsa" not in pins_of("", HOST, 22).algorithms()


def test_forgetting_a_host_leaves_everything_else_as_it_was() -> None:
    kept = f"# note\n@revoked {HOST} {text_of(OTHER)}\n*.example.com {text_of(ONE)}\nbroken\n"
    lines = f"{HOST} {text_of(ONE)}\n{hashed(HOST)} {text_of(ECDSA)}\n"
    assert without(f"{kept}{lines}\n", HOST, 22) == f"{kept}\n"


def test_forgetting_a_host_leaves_the_other_names_of_its_line() -> None:
    text = f"a.example.com,{HOST} {text_of(ONE)} words\n"
    assert without(text, HOST, 22) == f"a.example.com {text_of(ONE)} words\n"


def test_a_pinned_key_is_found_again_and_the_file_is_for_all_to_read(tmp_path: Path) -> None:
    file = tmp_path / "state" / "known_hosts"
    pin(file, HOST, 2222, ONE, site="site1")
    assert pinned(file, HOST, 2222).has(ONE) and stat.S_IMODE(file.stat().st_mode) == 0o644


def test_pinning_what_is_pinned_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# mine\n{HOST} {text_of(ONE)} words")
    pin(file, HOST, 22, ONE, site="site1")
    assert file.read_text() == f"# mine\n{HOST} {text_of(ONE)} words"


def test_a_pin_goes_to_a_line_of_its_own_though_the_last_one_has_no_end(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# mine\nother {text_of(ONE)}")
    pin(file, HOST, 22, OTHER, site="site1")
    assert file.read_text() == f"# mine\nother {text_of(ONE)}\n{HOST} {text_of(OTHER)}\n"


def test_another_key_is_never_pinned_beside_the_first(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    pin(file, HOST, 22, ONE, site="site1")
    with pytest.raises(HostKeyChanged, match="site1: host key SHA256:"):
        pin(file, HOST, 22, OTHER, site="site1")
    assert not pinned(file, HOST, 22).has(OTHER)


def test_a_changed_key_is_told_with_both_fingerprints_the_line_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# mine\n[{HOST}]:2222 {text_of(ONE)}\n")
    with pytest.raises(HostKeyChanged) as caught:
        pin(file, HOST, 2222, OTHER, site="site1")
    said = str(caught.value)
    assert ONE.get_fingerprint() in said and OTHER.get_fingerprint() in said and "(line 2)" in said
    assert f"ssh-keygen -f {file} -R '[{HOST}]:2222'" in (caught.value.hint or "")


def test_the_command_of_the_hint_does_what_it_says(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    pin(file, HOST, 2222, ONE, site="site1")
    process.run(["ssh-keygen", "-f", str(file), "-R", f"[{HOST}]:2222"]).check()
    assert pinned(file, HOST, 2222).is_new


def test_openssh_finds_what_was_pinned(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    pin(file, HOST, 2222, ONE, site="site1")
    found = process.run(["ssh-keygen", "-l", "-f", str(file), "-F", f"[{HOST}]:2222"]).check()
    assert ONE.get_fingerprint() in found.output.decode()


def test_an_unpinned_host_is_new_and_its_file_keeps_bytes_of_any_kind(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_bytes(b"# caf\xe9\n")
    pin(file, HOST, 22, ONE, site="site1")
    assert (unpin(file, HOST, 22), unpin(file, HOST, 22)) == (True, False)
    assert file.read_bytes() == b"# caf\xe9\n"


def test_there_is_nothing_to_forget_without_a_file(tmp_path: Path) -> None:
    assert not unpin(tmp_path / "none" / "known_hosts", HOST, 22)


def test_who_holds_the_lock_for_too_long_is_named_and_nothing_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_hosts, "_PATIENCE_S", 0.1)
    file = tmp_path / "known_hosts"
    with locks.locked(tmp_path), pytest.raises(PushmirrorError, match=r"is locked by process \d+"):
        pin(file, HOST, 22, ONE, site="site")
    assert not file.exists()


PINNING = """\
import asyncssh, contextlib, pathlib, sys, time
from pushmirror.errors import HostKeyChanged
from pushmirror.push.ssh.known_hosts import pin
directory, name = pathlib.Path(sys.argv[1]), sys.argv[2]
key = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
(directory / name).touch()
while not (directory / "go").exists():
    time.sleep(0.001)
for number in range(100):
    with contextlib.suppress(HostKeyChanged):
        pin(directory / "known_hosts", f"shared{number}", 22, key, site="site")
    pin(directory / "known_hosts", f"{name}{number}", 22, key, site="site")
"""


def test_processes_that_pin_at_once_lose_no_line_and_give_no_host_two_keys(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    with ExitStack() as stack:
        argvs = [[sys.executable, "-c", PINNING, str(tmp_path), name] for name in names]
        started = [stack.enter_context(process.background(argv, log=tmp_path / "log")) for argv in argvs]
        assert wait_until(lambda: all((tmp_path / name).exists() for name in names))
        (tmp_path / "go").touch()
        assert [each.child.wait(60) for each in started] == [0, 0, 0]
    found = sorted(line.split()[0] for line in (tmp_path / "known_hosts").read_text().splitlines())
    assert found == sorted(f"{name}{n}" for name in (*names, "shared") for n in range(100))
