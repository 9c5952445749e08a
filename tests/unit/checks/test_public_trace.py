from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pushmirror.archive.trace import Trace, render_trace
from pushmirror.checks import public_trace
from pushmirror.checks import public_trace as fetching
from pushmirror.checks.public_trace import MAX_BYTES, NotFetchedError, PublicTrace, fetch
from pushmirror.config.model import Archive, Config, Mirror, Site
from pushmirror.status.words import Level

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
TRACE = Trace(NOW - timedelta(hours=3), NOW, "20180513", "a.example", archive_serial="2026080103")


class Pages(BaseHTTPRequestHandler):
    """Serves what the test put into `server.pages`; a redirect is a page that begins with "-> "."""

    def do_GET(self) -> None:
        release = self.server.silent.get(self.path)
        if release:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            release.wait(30)
            return
        body = self.server.pages.get(self.path)
        if body is None:
            self.send_error(404)
        elif body.startswith(b"-> "):
            self.send_response(302)
            self.send_header("Location", body[3:].decode())
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def web(monkeypatch) -> Iterator[ThreadingHTTPServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.daemon_threads = True
        server.pages, server.silent = {}, {}
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def refused(url: str, **more) -> str:
    with pytest.raises(NotFetchedError) as told:
        fetch(url, **more)
    return str(told.value)


def test_a_text_is_fetched_also_through_a_redirect(web):
    web.pages |= {"/old": b"-> /new", "/new": b"hello"}
    assert fetch(f"{web.url}/old") == "hello"


def test_a_redirect_never_leads_to_a_file(web, tmp_path):
    (tmp_path / "secret").write_text("hunter2")
    web.pages["/x"] = f"-> file://{tmp_path}/secret".encode()
    assert "not allowed" in refused(f"{web.url}/x")
    assert "unknown url type" in refused(f"file://{tmp_path}/secret")


def test_a_redirect_never_leads_to_another_protocol(web):
    web.pages["/x"] = b"-> ftp://127.0.0.1/x"
    assert "unknown url type" in refused(f"{web.url}/x")


def test_redirects_come_to_an_end(web):
    web.pages |= {f"/{n}": f"-> /{n + 1}".encode() for n in range(20)}
    assert "redirect" in refused(f"{web.url}/0")


def test_what_is_too_long_is_not_taken(web):
    web.pages |= {"/long": b"x" * (MAX_BYTES + 1), "/fits": b"x" * MAX_BYTES}
    assert refused(f"{web.url}/long").endswith("longer than 64 KiB")
    assert len(fetch(f"{web.url}/fits")) == MAX_BYTES


def test_a_server_that_never_ends_its_answer_is_not_waited_for(web):
    web.silent["/x"] = threading.Event()
    assert "no answer in time" in refused(f"{web.url}/x", limit_s=0.3)
    web.silent["/x"].set()


def test_what_is_missing_is_told_in_words(web):
    assert refused(f"{web.url}/x").endswith("/x: HTTP 404 Not Found")


def test_a_password_in_an_address_is_neither_used_nor_repeated():
    assert refused("http://me:hunter2@127.0.0.1:1/x").startswith("http://127.0.0.1:1/x: the URL must not")


def test_a_port_where_nothing_answers_is_told_in_words():
    with socket.socket() as free:  # bound, but it does not listen
        free.bind(("127.0.0.1", 0))
        assert refused(f"http://127.0.0.1:{free.getsockname()[1]}/x").endswith("/x: Connection refused")


def site(**more) -> Site:
    return Site(name="a.example", host="h", user="u", archives=["debian", "security"], **more)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {}),
        ({"url": "http://h/debian/"}, {"debian": "http://h/debian/project/trace/a.example"}),
        (
            {"url": "http://h/{archive}", "trace": "t"},
            {"debian": "http://h/debian/project/trace/t", "security": "http://h/security/project/trace/t"},
        ),
    ],
)
def test_a_trace_has_one_address_for_each_archive_whose_place_is_known(more, expected):
    assert public_trace.addresses(site(**more)) == expected


def judged(
    serial: str = "", generation: str = "", *, finished: datetime | None = NOW
) -> public_trace.Finding:
    own = PublicTrace(NOW, "2026080103", "a" * 64)
    return public_trace.judge("trace", PublicTrace(finished, serial, generation), own, NOW)


def test_a_trace_of_our_serial_is_the_same_state():
    found = judged("2026080103")
    assert (found.level, found.found) == (Level.OK, "of 0 s ago, archive serial 2026080103: the same as ours")


@pytest.mark.parametrize(
    ("serial", "words"),
    [("2026080102", "2026080102: behind ours, 2026080103"), ("2026080104", "ahead of ours")],
)
def test_a_trace_of_another_serial_says_which_is_newer(serial, words):
    found = judged(serial)
    assert found.level is Level.WARNING and words in found.found


def test_a_generation_tells_more_than_a_serial():
    assert judged("2026080102", "a" * 64).level is Level.OK
    assert "generation bbbbbbbbbbbb: not ours, aaaaaaaaaaaa" in judged("2026080103", "b" * 64).found


def test_a_trace_that_tells_nothing_is_only_dated():
    assert "no archive serial or date" in judged().found


def test_a_page_that_is_no_trace_is_not_taken_for_one():
    assert judged(finished=None).level is Level.WARNING


def test_a_trace_from_the_future_means_a_wrong_clock():
    def clocks(ahead: int) -> list[str]:
        shown = PublicTrace(NOW + timedelta(minutes=ahead), "", "")
        return [one.found for one in public_trace.judge_clock("clock", shown, NOW)]

    assert (clocks(4), clocks(7)) == ([], ["its trace is 7 min in the future"])


def test_the_trace_of_a_site_is_compared_with_our_tree(web, tmp_path):
    for name, serial in (("master", "2026080104"), ("hub.example", "2026080103")):
        file = tmp_path / "project/trace" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"x\nArchive serial: {serial}\n")
    web.pages["/debian/project/trace/a.example"] = render_trace(TRACE).encode()
    config = Config(
        mirror=Mirror(name="hub.example"),
        archives={name: Archive(name=name, path=tmp_path) for name in ("debian", "security")},
    )
    debian, security = public_trace.of_site(site(url=f"{web.url}/{{archive}}"), config, NOW)
    assert debian.found == "of 3 h ago, archive serial 2026080103: behind ours, 2026080104"
    assert "HTTP 404" in security.found and security.level is Level.WARNING


def test_there_is_an_end_to_how_long_a_trace_may_take():
    assert 0 < fetching.LIMIT_S <= 15
