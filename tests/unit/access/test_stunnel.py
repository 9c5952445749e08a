from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.access import tls
from pushmirror.access.rsyncd_conf import DaemonFacts, DaemonPaths
from pushmirror.config.model import Serve
from pushmirror.errors import ConfigError

TLS = {"certificate": "/etc/cert.pem", "certificate_key": "/etc/key.pem"}


def rendered(*, ipv6=True, directory="/state/rsyncd", **serve):
    facts = DaemonFacts((3, 2, 7), root=False, ipv6=ipv6)
    found = Serve.model_validate({**TLS, **serve})
    return tls.stunnel_conf(found, DaemonPaths(Path(directory)), facts, "/usr/bin/rsync").splitlines()


def accepts(lines):
    return [line.removeprefix("accept = ") for line in lines if line.startswith("accept")]


@pytest.mark.parametrize(("ipv6", "where"), [(True, ["0.0.0.0:1873", ":::1873"]), (False, ["0.0.0.0:1873"])])
def test_each_family_has_a_socket_of_its_own(ipv6, where):
    assert accepts(rendered(ipv6=ipv6)) == where


def test_an_address_is_the_only_one():
    assert accepts(rendered(rsync_tls="[2001:db8::1]:8743")) == ["2001:db8::1:8743"]


def test_an_rsync_is_started_for_each_connection_by_the_daemons_own_configuration():
    lines = rendered()
    assert lines.count("execArgs = rsync --server --daemon --config=/state/rsyncd/rsyncd.conf .") == 2
    assert not [line for line in lines if line.startswith("connect")]


def test_what_stunnel_says_is_kept_also_when_the_system_starts_it():
    assert "output = /state/rsyncd/stunnel.log" in rendered()


def test_only_current_tls_is_spoken():
    assert "sslVersionMin = TLSv1.2" in rendered()


def test_a_directory_that_stunnel_would_take_for_two_words_is_refused():
    with pytest.raises(ConfigError, match="two words"):
        rendered(directory="/my state/rsyncd")


def test_a_certificate_whose_name_stunnel_would_cut_is_refused():
    with pytest.raises(ConfigError, match=r"serve\.certificate: .*trailing space"):
        rendered(certificate="/etc/cert ")
