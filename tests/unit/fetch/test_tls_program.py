"""What is said to stunnel and socat, as tables."""

from pathlib import Path

import pytest

from pushmirror.errors import UsageError
from pushmirror.fetch.tls_program import socat_argv, stunnel_config


def lines(host: str = "hub.example.org", ca: str = "/etc", *, check_name: bool = True) -> list[str]:
    return stunnel_config(host, 1873, Path(ca), check_name=check_name).splitlines()


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("hub.example.org", "checkHost = hub.example.org"),
        ("192.0.2.7", "checkIP = 192.0.2.7"),
        ("2001:db8::1", "checkIP = 2001:db8::1"),
    ],
)
def test_stunnel_looks_at_the_name_or_address_in_the_certificate(host, line):
    assert {line, f"connect = {host}:1873"} <= {*lines(host)}


def test_the_old_way_looks_at_no_name_but_at_the_authority():
    assert "verifyChain = yes" in lines(check_name=False)
    assert not [line for line in lines(check_name=False) if line.startswith("check")]


def test_stunnel_does_not_wait_for_a_farewell():
    assert "TIMEOUTclose = 0" in lines()


@pytest.mark.parametrize(("ca", "key"), [("/etc", "CApath"), ("/etc/passwd", "CAfile")])
def test_authorities_are_in_a_directory_or_a_file(ca, key):
    assert f"{key} = {ca}" in lines(ca=ca)
    assert f",{key.lower()}={ca}," in f",{socat_argv('hub', 1, Path(ca))[-1].partition(',')[2]}"


@pytest.mark.parametrize(
    ("host", "target"), [("hub.example.org", "hub.example.org:1873"), ("2001:db8::1", "[2001:db8::1]:1873")]
)
def test_socat_is_told_where_to_connect(host, target):
    argv = socat_argv(host, 1873, Path("/etc/ssl/certs"))
    assert argv[:2] == ["socat", "-"]
    assert argv[2].startswith(f"openssl-connect:{target},capath=/etc/ssl/certs,")


def test_a_path_cannot_add_options_to_those_of_socat():
    assert r",cafile=/nowhere\,verify=0," in socat_argv("hub", 1, Path("/nowhere,verify=0"))[-1]


@pytest.mark.parametrize("host", ["", "-h", "a\nexec = id", "a,verify=0", "a b", "$(id)"])
def test_what_is_no_host_is_refused(host):
    with pytest.raises(UsageError, match="expected a host name"):
        stunnel_config(host, 1, Path("/etc"), check_name=True)
    with pytest.raises(UsageError, match="expected a host name"):
        socat_argv(host, 1, Path("/etc"))


def test_a_path_cannot_add_lines_to_the_configuration():
    with pytest.raises(UsageError, match="control characters"):
        lines(ca="/etc\nexec = id")
