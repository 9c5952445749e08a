"""Triggers over real ssh: what a site answers, what keeps it from answering, and what is left behind."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pushmirror.config.model import Site
from pushmirror.errors import HostKeyChanged, TriggerFailed
from pushmirror.lab.services import free_port, new_key, wait_until
from pushmirror.push.ssh import connect, known_hosts
from pushmirror.push.ssh.client import SshSender
from pushmirror.push.trigger_sender import MAX_OUTPUT, Answer
from pushmirror.system import process
from ssh_sites import FOREVER, Sites

WORDS = " sync:archive:debian sync:stage1"
_SLOW_S = 60.0  # the longest that a slow name server keeps a name
PORT_OF_OURS = "set -- $SSH_CONNECTION; echo $2"  # tells one connection from another


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    sites = Sites(tmp_path)
    with sites.sshd:
        yield sites


async def once(path: Path) -> str:
    """A file's content once another process has written it whole."""
    while not (path.exists() and path.read_text().endswith("\n")):
        await asyncio.sleep(0.01)
    return path.read_text()


def has_sessions(sites: Sites) -> bool:
    """Whether sshd has a process for any connection."""
    children = Path(f"/proc/{sites.sshd.pid}/task/{sites.sshd.pid}/children")
    return bool(children.read_text().split())


# What a site answers


def test_a_site_is_told_the_words_as_they_are_and_its_answer_comes_back(sites: Sites) -> None:
    site = sites.site('echo "<$SSH_ORIGINAL_COMMAND>"')
    assert sites.run(lambda sender: sender.trigger(site, WORDS)) == Answer(0, f"<{WORDS}>\n")


@pytest.mark.parametrize("code", [1, 127, 255])
def test_the_exit_code_is_told_whatever_it_is(sites: Sites, code: int) -> None:
    site = sites.site(f"echo no >&2; exit {code}")
    assert sites.run(lambda sender: sender.trigger(site, WORDS)) == Answer(code, "no\n")


def test_a_command_that_a_signal_ended_is_told_with_its_number(sites: Sites) -> None:
    site = sites.site("kill -s TERM $$")
    assert sites.run(lambda sender: sender.trigger(site, WORDS)).exit_code == -15


def test_standard_output_and_error_come_in_the_order_of_their_writing(sites: Sites) -> None:
    site = sites.site("echo one; sleep 0.3; echo two >&2; sleep 0.3; echo three")
    assert sites.run(lambda sender: sender.trigger(site, WORDS)).output == "one\ntwo\nthree\n"


@pytest.mark.parametrize("stream", [1, 2])
def test_a_site_that_floods_us_is_drained_and_its_last_words_are_kept(sites: Sites, stream: int) -> None:
    site = sites.site(f"{{ head -c 10000000 /dev/zero; echo; echo the end; }} >&{stream}")
    answer = sites.run(lambda sender: sender.trigger(site, WORDS))
    assert (answer.exit_code, len(answer.output)) == (0, MAX_OUTPUT)
    assert answer.output.endswith("\nthe end\n")


def test_output_that_is_no_text_is_shown_as_far_as_it_can_be(sites: Sites) -> None:
    site = sites.site(r"printf 'caf\351\n'")
    assert sites.run(lambda sender: sender.trigger(site, WORDS)).output == "caf\ufffd\n"


def test_a_site_gets_neither_input_nor_a_terminal(sites: Sites) -> None:
    site = sites.site("wc -c; tty")
    assert sites.run(lambda sender: sender.trigger(site, WORDS)) == Answer(1, "0\nnot a tty\n")


# What keeps it from answering


def failure(sites: Sites, site: Site, **options: int) -> TriggerFailed:
    with pytest.raises(TriggerFailed) as caught:
        sites.run(lambda sender: sender.trigger(site, WORDS), **options)
    assert caught.value.hint
    return caught.value


def test_a_site_that_takes_too_long_is_given_up_and_its_connection_closed(sites: Sites) -> None:
    site = sites.site(FOREVER)
    error = failure(sites, site, timeout=2)
    assert "did not finish its run within 2 s" in str(error)
    assert wait_until(lambda: not has_sessions(sites))


def test_a_refused_connection_is_told_with_host_and_port(sites: Sites) -> None:
    site = sites.site(port=free_port())
    assert str(failure(sites, site)) == f"site site1 (127.0.0.1:{site.port}) refused the connection"


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", f"{'x' * 64}.example.com"])
def test_a_name_that_cannot_be_resolved_is_told(sites: Sites, host: str) -> None:
    assert "cannot resolve its host name" in str(failure(sites, sites.site(host=host)))


def test_a_site_that_does_not_know_our_key_is_told_with_what_it_needs(sites: Sites) -> None:
    other = sites.directory / "other"
    new_key(other)
    error = failure(sites, sites.site(key=other))
    assert f"rejected user {sites.sshd.user} with key {other}" in str(error)
    assert "`pushmirror site kit " in (error.hint or "")
    assert f"{other}.pub" not in str(error.hint)  # without a forced command it would open a shell


def test_a_key_that_is_missing_is_told_with_how_to_make_one(sites: Sites) -> None:
    error = failure(sites, sites.site(key=sites.directory / "none"))
    assert "there is no ssh key" in str(error) and "ssh-keygen -t ed25519" in (error.hint or "")


def test_a_key_with_a_passphrase_is_told(sites: Sites) -> None:
    argv = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", str(sites.key)]
    process.run(argv).check()
    error = failure(sites, sites.site(key=sites.key))
    assert "Passphrase" in str(error) and "secret" not in str(error)


@pytest.mark.parametrize("text", ["", "garbage\n", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_a_key_that_is_none_is_told(sites: Sites, text: str) -> None:
    sites.key.write_text(text)
    assert f"cannot use the ssh key {sites.key}" in str(failure(sites, sites.site(key=sites.key)))


def test_a_site_that_dies_in_the_middle_is_told_as_a_lost_connection(sites: Sites, tmp_path: Path) -> None:
    site = sites.site(f"echo $PPID > {tmp_path}/pid; {FOREVER}")

    async def killed(sender: SshSender) -> None:
        task = asyncio.create_task(sender.trigger(site, WORDS))
        os.kill(int(await once(tmp_path / "pid")), signal.SIGKILL)
        await task

    with pytest.raises(TriggerFailed, match=r"the connection was lost after \d s"):
        sites.run(killed)


def can_connect(port: int | None) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port or 0)) == 0


@contextmanager
def configured(sites: Sites, *lines: str) -> Iterator[None]:
    """The sites' sshd, with lines that come before its others and so win."""
    sites.sshd.stop()
    argv = sites.sshd._argv()
    config = sites.sshd.directory / "sshd_config"
    config.write_text("\n".join([*lines, config.read_text()]))
    with process.background(argv, log=sites.directory / "log") as sshd:
        assert wait_until(lambda: can_connect(sites.sshd.port) or sshd.poll() is not None)
        yield


def test_a_site_that_falls_silent_in_the_middle_is_noticed(
    sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "_KEEPALIVE_S", 0.2)
    site = sites.site(f"echo $PPID > {tmp_path}/pid; {FOREVER}")

    async def silenced(sender: SshSender) -> None:
        task = asyncio.create_task(sender.trigger(site, WORDS))
        session = int(await once(tmp_path / "pid"))
        os.kill(session, signal.SIGSTOP)
        try:
            await task
        finally:
            os.kill(session, signal.SIGCONT)

    with pytest.raises(TriggerFailed, match=r"connection was lost after .*: Server not responding"):
        sites.run(silenced)


def test_a_site_whose_sshd_opens_no_session_is_told(sites: Sites) -> None:
    site = sites.site()
    with configured(sites, "MaxSessions 0"):
        assert "login succeeded, but no session could be opened" in str(failure(sites, site))


class Impostor:
    """Something that listens where an sshd should, says what it is told to and then only listens."""

    def __init__(self, greeting: bytes = b"", *, hang_up: bool = False) -> None:
        self.greeting, self.hang_up = greeting, hang_up
        self.port = 0
        self.at_once = self.most_at_once = 0

    async def __aenter__(self) -> "Impostor":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting)
        if not self.hang_up and await reader.read(4) == b"SSH-":
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            while await reader.read(1000):
                pass
            self.at_once -= 1
        writer.close()


@pytest.mark.parametrize(
    ("impostor", "said"),
    [
        (Impostor(), "sent nothing within 1 s"),
        (Impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n", hang_up=True), "closed the connection during"),
        (Impostor(b"SSH-2.0-\xff\xfe\r\n"), "does not speak ssh as expected"),
        (Impostor(b"SSH-1.5-old\r\n"), "does not speak ssh as expected: Unsupported SSH version"),
        (Impostor(b"x" * 100_000), "does not speak ssh as expected"),
        (Impostor(b"SSH-2.0-x\r\n" + b"\xff" * 1000), "does not speak ssh as expected"),
    ],
    ids=["silence", "http", "bytes", "ssh1", "flood", "garbage"],
)
def test_what_is_no_ssh_server_is_told(sites: Sites, impostor: Impostor, said: str) -> None:
    async def tried(sender: SshSender) -> None:
        async with impostor:
            await sender.trigger(sites.site(port=impostor.port), WORDS)

    with pytest.raises(TriggerFailed) as caught:
        sites.run(tried, connect_timeout=1)
    assert said in str(caught.value)


def test_only_so_many_handshakes_are_made_at_a_time(sites: Sites) -> None:
    impostor = Impostor(b"SSH-2.0-slow\r\n")

    async def many(sender: SshSender) -> int:
        async with impostor:
            site = sites.site(port=impostor.port)
            same = [site.model_copy(update={"name": f"site{n}"}) for n in range(10)]
            await asyncio.gather(*(sender.trigger(each, WORDS) for each in same), return_exceptions=True)
        return impostor.most_at_once

    assert sites.run(many, handshakes=3, connect_timeout=1) == 3


def test_waiting_for_a_turn_is_no_time_that_a_site_takes(sites: Sites) -> None:
    impostor = Impostor(b"SSH-2.0-slow\r\n")

    async def both(sender: SshSender) -> Answer:
        async with impostor:
            slow = sites.site(name="slow", port=impostor.port)
            holding = asyncio.create_task(sender.trigger(slow, WORDS))
            while not impostor.most_at_once:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)  # its greeting comes, and it takes the turn
            answer = await sender.trigger(sites.site(), WORDS)
            await asyncio.wait({holding})
        return answer

    assert sites.run(both, handshakes=1, connect_timeout=6, timeout=4).exit_code == 0


@contextmanager
def down(sites: Sites) -> Iterator[Site]:
    """A site as good as one that drops what it is sent: its queue of connections is full."""
    with socket.socket() as full, ExitStack() as others:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        site = sites.site(name="down", port=full.getsockname()[1])
        for _ in range(3):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", site.port))
        yield site


def test_a_site_that_does_not_answer_is_told(sites: Sites) -> None:
    with down(sites) as site:
        assert "did not answer within 1 s" in str(failure(sites, site, connect_timeout=1))


def test_sites_that_are_down_do_not_keep_the_others_waiting(sites: Sites) -> None:
    async def both(sender: SshSender) -> Answer:
        with down(sites) as silent:
            waiting = asyncio.create_task(sender.trigger(silent, WORDS))
            await asyncio.sleep(0)  # it begins first
            answer = await sender.trigger(sites.site(), WORDS)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait({waiting})
        return answer

    assert sites.run(both, handshakes=1).exit_code == 0


def test_sites_that_say_nothing_do_not_keep_the_others_waiting(sites: Sites) -> None:
    async def both(sender: SshSender) -> Answer:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            mute.setblocking(False)
            silent = sites.site(name="mute", port=mute.getsockname()[1])
            waiting = asyncio.create_task(sender.trigger(silent, WORDS))
            connection, _ = await asyncio.get_running_loop().sock_accept(mute)
            with connection:
                answer = await sender.trigger(sites.site(), WORDS)
                assert not waiting.done()
                waiting.cancel()
                await asyncio.wait({waiting})
        return answer

    assert sites.run(both, handshakes=1).exit_code == 0


# Host keys


def with_new_host_key(sites: Sites) -> None:
    sites.sshd.stop()
    for name in ("host_key", "host_key.pub"):
        (sites.sshd.directory / name).unlink()
    sites.sshd.host_key = new_key(sites.sshd.directory / "host_key")
    sites.sshd.start()


def test_the_first_host_key_is_pinned_for_us_and_for_openssh(sites: Sites) -> None:
    site = sites.site()
    sites.run(lambda sender: sender.trigger(site, WORDS))
    assert sites.known_hosts.read_text().startswith(f"[127.0.0.1]:{site.port} ssh-ed25519 ")
    argv = sites.sshd.ssh_argv(sites.directory / "site1.key")
    process.run([*argv[:1], "-o", f"UserKnownHostsFile={sites.known_hosts}", *argv[1:], WORDS]).check()


def test_a_site_that_does_not_let_us_in_is_not_pinned(sites: Sites) -> None:
    failure(sites, sites.site(key=sites.key))
    assert not sites.known_hosts.exists()


@pytest.mark.parametrize("cannot", ["read", "store"])
def test_a_site_whose_host_key_cannot_be_kept_is_not_woken(sites: Sites, tmp_path: Path, cannot: str) -> None:
    site = sites.site(f"touch {tmp_path}/woken")
    if cannot == "read":
        sites.known_hosts.mkdir(parents=True)
    else:
        sites.known_hosts.parent.symlink_to("/proc/self/nowhere")
    assert cannot in str(failure(sites, site))
    assert not (tmp_path / "woken").exists()


def test_a_changed_host_key_is_refused_and_nothing_is_sent(sites: Sites, tmp_path: Path) -> None:
    site = sites.site(f"echo >> {tmp_path}/woken")
    sites.run(lambda sender: sender.trigger(site, WORDS))
    before = known_hosts.pinned(sites.known_hosts, site.host, site.port).trusted[0].fingerprint
    with_new_host_key(sites)
    error = failure(sites, site)
    assert isinstance(error, HostKeyChanged) and f"{before} (line 1)" in str(error)
    assert (tmp_path / "woken").read_text() == "\n"


def test_a_changed_host_key_is_taken_when_the_old_one_was_forgotten(sites: Sites) -> None:
    site = sites.site()
    sites.run(lambda sender: sender.trigger(site, WORDS))
    with_new_host_key(sites)
    known_hosts.unpin(sites.known_hosts, site.host, site.port)
    assert sites.run(lambda sender: sender.trigger(site, WORDS)).exit_code == 0


def test_a_revoked_host_key_is_refused(sites: Sites) -> None:
    site = sites.site()
    sites.known_hosts.parent.mkdir()
    sites.known_hosts.write_text(f"@revoked * {sites.sshd.host_key}\n")
    error = failure(sites, site)
    assert isinstance(error, HostKeyChanged) and "revoked" in str(error)


def test_a_server_with_keys_of_several_types_is_asked_for_the_pinned_one(sites: Sites) -> None:
    site = sites.site()
    rsa = sites.directory / "rsa"
    process.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(rsa)]).check()
    sites.known_hosts.parent.mkdir()
    sites.known_hosts.write_text(f"# mine\n[127.0.0.1]:{site.port} {Path(f'{rsa}.pub').read_text()}")
    with configured(sites, f"HostKey {rsa}"):
        assert sites.run(lambda sender: sender.trigger(site, WORDS)).exit_code == 0


# Connections


def test_stage_2_goes_through_the_connection_of_stage_1(sites: Sites) -> None:
    site = sites.site(PORT_OF_OURS)

    async def twice(sender: SshSender) -> tuple[Answer, Answer]:
        return await sender.trigger(site, WORDS), await sender.trigger(site, WORDS)

    one, two = sites.run(twice)
    assert one == two and one.exit_code == 0


def test_a_connection_that_was_released_is_closed(sites: Sites) -> None:
    site = sites.site(PORT_OF_OURS)

    async def twice(sender: SshSender) -> tuple[Answer, Answer]:
        one = await sender.trigger(site, WORDS)
        assert has_sessions(sites)
        await sender.release(site)
        while has_sessions(sites):
            await asyncio.sleep(0.01)
        return one, await sender.trigger(site, WORDS)

    one, two = sites.run(twice)
    assert one.output != two.output


def test_releasing_a_site_does_not_cut_off_a_trigger_for_another_archive(
    sites: Sites, tmp_path: Path
) -> None:
    site = sites.site(f"echo > {tmp_path}/begun; until test -e {tmp_path}/go; do sleep 0.01; done")

    async def released(sender: SshSender) -> Answer:
        task = asyncio.create_task(sender.trigger(site, WORDS))
        await once(tmp_path / "begun")
        await sender.release(site)
        (tmp_path / "go").touch()
        return await task

    assert sites.run(released).exit_code == 0


def test_a_connection_that_died_between_the_stages_is_replaced(sites: Sites) -> None:
    site = sites.site(f"{PORT_OF_OURS}; echo $PPID")

    async def twice(sender: SshSender) -> tuple[Answer, Answer]:
        one = await sender.trigger(site, WORDS)
        os.kill(int(one.output.split()[1]), signal.SIGKILL)
        return one, await sender.trigger(site, WORDS)

    one, two = sites.run(twice)
    assert two.exit_code == 0 and one.output.split()[0] != two.output.split()[0]


def test_a_connection_that_died_unheard_is_replaced_too(sites: Sites) -> None:
    site = sites.site(f"{PORT_OF_OURS}; echo $PPID")

    async def twice(sender: SshSender) -> tuple[Answer, Answer]:
        one = await sender.trigger(site, WORDS)
        session = int(one.output.split()[1])
        os.kill(session, signal.SIGSTOP)  # as behind a firewall that has forgotten the connection
        try:
            return one, await sender.trigger(site, WORDS)
        finally:
            os.kill(session, signal.SIGCONT)

    one, two = sites.run(twice, connect_timeout=2)
    assert two.exit_code == 0 and one.output.split()[0] != two.output.split()[0]


def test_sites_on_one_host_have_a_connection_each(sites: Sites) -> None:
    one, two = sites.site(PORT_OF_OURS), sites.site(PORT_OF_OURS, name="site2")

    async def both(sender: SshSender) -> list[Answer]:
        return [await sender.trigger(site, WORDS) for site in (one, two)]

    assert len({answer.output for answer in sites.run(both)}) == 2


def test_a_cancelled_trigger_leaves_no_connection(sites: Sites, tmp_path: Path) -> None:
    site = sites.site(f"echo > {tmp_path}/begun; {FOREVER}")

    async def cancelled(sender: SshSender) -> bool:
        task = asyncio.create_task(sender.trigger(site, WORDS))
        await once(tmp_path / "begun")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while has_sessions(sites):
            await asyncio.sleep(0.01)
        return True

    assert sites.run(cancelled)


def test_a_wire_that_is_closed_ends_what_is_under_way(sites: Sites, tmp_path: Path) -> None:
    site = sites.site(f"echo > {tmp_path}/begun; {FOREVER}")

    async def closed(sender: SshSender) -> None:
        task = asyncio.create_task(sender.trigger(site, WORDS))
        await once(tmp_path / "begun")
        await sender.close()
        await task

    with pytest.raises(TriggerFailed, match=r"closed the session|connection was lost"):
        sites.run(closed)


def test_fifty_sites_at_once(sites: Sites) -> None:
    many = [sites.site(f"{PORT_OF_OURS}; sleep 0.2", name=f"site{n}") for n in range(50)]

    async def all_of_them(sender: SshSender) -> list[Answer]:
        return await asyncio.gather(*(sender.trigger(site, WORDS) for site in many))

    answers = sites.run(all_of_them)
    assert {answer.exit_code for answer in answers} == {0} and len({a.output for a in answers}) == 50


def test_names_that_are_resolved_slowly_do_not_keep_the_others_waiting(sites, monkeypatch):
    good, answered = sites.site("true", name="good"), threading.Event()
    slow = [good.model_copy(update={"name": f"s{n}", "host": f"slow{n}.example"}) for n in range(50)]
    ask = socket.getaddrinfo

    def slowly(host, *rest, **options):
        if host.startswith("slow"):
            answered.wait(_SLOW_S)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return ask(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)

    async def job(sender):
        waiting = [asyncio.ensure_future(sender.trigger(site, WORDS)) for site in slow]
        await asyncio.sleep(0)  # they have begun
        answer = await sender.trigger(good, WORDS)
        answered.set()
        return answer, await asyncio.gather(*waiting, return_exceptions=True)

    answer, failures = sites.run(job)
    assert answer.exit_code == 0 and not [one for one in failures if not isinstance(one, TriggerFailed)]
