from __future__ import annotations

import pytest

from pushmirror.config.upstream_url import Scheme, UpstreamUrl, parse_upstream


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rsync://h/debian", UpstreamUrl(Scheme.RSYNC, None, "h", None, "debian")),
        ("rsync://u@h:8730/debian/", UpstreamUrl(Scheme.RSYNC, "u", "h", 8730, "debian")),
        (
            "rsyncs://a.b@h.example.org/debian/sub",
            UpstreamUrl(Scheme.RSYNCS, "a.b", "h.example.org", None, "debian/sub"),
        ),
        ("rsync://u@[2001:db8::1]:873/m", UpstreamUrl(Scheme.RSYNC, "u", "2001:db8::1", 873, "m")),
        ("rsync+ssh://u@h/srv/debian/", UpstreamUrl(Scheme.RSYNC_SSH, "u", "h", None, "/srv/debian")),
        ("file:///srv/nfs/debian/", UpstreamUrl(Scheme.FILE, None, "", None, "/srv/nfs/debian")),
        ("rsync://user@example.org@h/m", UpstreamUrl(Scheme.RSYNC, "user@example.org", "h", None, "m")),
    ],
)
def test_an_upstream_is_parsed(url, expected):
    assert parse_upstream(url) == expected
    assert parse_upstream(str(expected)) == expected


def test_the_module_is_the_first_part_of_a_daemons_path():
    assert parse_upstream("rsync://h/debian/sub").module == "debian"
    assert parse_upstream("rsync+ssh://h/srv/debian").module == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://h/debian",
        "h::debian",
        "rsync:/h/debian",
        "rsync://h",
        "rsync://h/",
        "rsync:///debian",
        "rsync://-oProxyCommand=x/debian",
        "rsync://-u@h/debian",
        "rsync://h:0/debian",
        "rsync://h:65536/debian",
        "rsync://h:0000221234/debian",
        f"rsync://h:000022{'9' * 5000}/debian",
        "rsync://h:x/debian",
        "rsync://h:/debian",
        "rsync://2001:db8::1/debian",
        "rsync://[h]/debian",
        "rsync://h/debian/../other",
        "rsync://h/deb*",
        "file://h/srv/debian",
        "file:///",
        "rsync://h/de bian",
        "rsync://h/debian\n",
        3,
    ],
)
def test_a_malformed_upstream_is_refused(url):
    with pytest.raises(ValueError, match="URL"):
        parse_upstream(url)


def test_an_inline_password_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="password_file") as caught:
        parse_upstream("rsync://u:hunter2@h/debian")
    assert "hunter2" not in str(caught.value)
