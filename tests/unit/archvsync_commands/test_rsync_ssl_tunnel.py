"""The options and variables of rsync-ssl-tunnel, and how it ends."""

from pathlib import Path

import pytest

from pushmirror.archvsync_commands import rsync_ssl_tunnel
from pushmirror.config.model import TlsMethod
from pushmirror.errors import PushmirrorError

STUNNEL, OLD, SOCAT = TlsMethod.STUNNEL, TlsMethod.STUNNEL_OLD, TlsMethod.SOCAT
CERTS = "/etc/ssl/certs"


@pytest.fixture
def became(monkeypatch):
    calls = []
    monkeypatch.setattr(rsync_ssl_tunnel, "become", lambda *args: calls.append(args))
    return calls


def call(words: str, **environment: str) -> int:
    return rsync_ssl_tunnel.main(["rsync-ssl-tunnel", *words.split()], environment)


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ("hub rsync --server --daemon .", {}, (STUNNEL, "hub", 1873, CERTS)),
        ("-l me hub rsync --server --daemon .", {}, (STUNNEL, "hub", 1873, CERTS)),
        ("-m stunnel4 hub", {}, (STUNNEL, "hub", 1873, CERTS)),
        ("-m stunnel-old hub", {}, (OLD, "hub", 1873, CERTS)),
        ("-m stunnel4-old hub", {}, (OLD, "hub", 1873, CERTS)),
        ("-msocat -p1 -C/ca hub", {}, (SOCAT, "hub", 1, "/ca")),
        ("hub", {"RSYNC_SSL_METHOD": "socat", "RSYNC_SSL_PORT": "7"}, (SOCAT, "hub", 7, CERTS)),
        ("hub", {"RSYNC_SSL_CAPATH": "/ca", "RSYNC_SSL_PORT": ""}, (STUNNEL, "hub", 1873, "/ca")),
        (
            "-m stunnel -p 8 hub",
            {"RSYNC_SSL_METHOD": "socat", "RSYNC_SSL_PORT": "7"},
            (STUNNEL, "hub", 8, CERTS),
        ),
        ("hub -m socat", {}, (STUNNEL, "hub", 1873, CERTS)),
    ],
)
def test_options_go_before_variables_and_these_before_defaults(became, words, environment, expected):
    call(words, **environment)
    method, host, port, ca = expected
    assert became == [(method, host, port, Path(ca))]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("-x hub", 64, "-x"),
        ("-p", 64, "-p"),
        ("", 64, "No arguments given"),
        ("-l me", 64, "No arguments given"),
        ("-p many hub", 64, "expected a port number"),
        ("-m openssl hub", 1, "Unknown method openssl."),
    ],
)
def test_a_wrong_call_is_told_and_starts_nothing(became, capsys, words, code, said):
    assert call(words) == code
    assert said in capsys.readouterr().err and became == []


def test_help_is_printed(became, capsys):
    assert call("-h") == 0
    assert capsys.readouterr().out.startswith("Usage: rsync-ssl-tunnel ") and became == []


def test_a_program_that_is_missing_is_told(monkeypatch, capsys):
    def refuse(*_):
        raise PushmirrorError("socat could not be started: No such file or directory")

    monkeypatch.setattr(rsync_ssl_tunnel, "become", refuse)
    assert call("-m socat hub") == 1
    assert "socat could not be started" in capsys.readouterr().err
