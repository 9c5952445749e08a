from __future__ import annotations

import socket

import pytest

from pushmirror.config import types


@pytest.mark.parametrize("name", ["", "mirror", "localhost", "LOCALHOST.localdomain", "mirror."])
def test_a_name_that_many_hosts_have_is_not_public(name):
    assert not types.is_public(name)


def test_the_own_name_is_the_one_that_hostname_f_tells(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "mirror")
    monkeypatch.setattr(socket, "getfqdn", lambda: "localhost.localdomain")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "mirror.example.org", ())])
    assert types.own_name() == "mirror.example.org"


def test_without_a_full_name_it_is_the_short_one(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror

    monkeypatch.setattr(socket, "gethostname", lambda: "mirror")
    monkeypatch.setattr(socket, "getfqdn", lambda: "localhost")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert types.own_name() == "mirror"
