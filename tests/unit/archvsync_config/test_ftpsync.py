from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pushmirror.archvsync_config.ftpsync import archive_name, read_ftpsync
from pushmirror.archvsync_config.places import ScriptPaths
from pushmirror.archvsync_config.values import Ftpsync, Logs, Mail, Variables
from pushmirror.config.model import Delete, TlsMethod
from pushmirror.errors import ConfigError

HOME = Path("/nowhere/mirror")
WHERE = ScriptPaths((HOME / ".config/ftpsync",), HOME / "log", HOME / "locks", None, here=HOME)
SECRET = Path("/nowhere/secret")


def read(*functions: str, **values: str) -> Ftpsync:
    environment = {"HOME": str(HOME), "LOGNAME": "mirror"}
    values = {"RSYNC_HOST": "up.example.org", **values}
    variables = Variables(HOME / "ftpsync.conf", values, environment, functions=functions)
    return read_ftpsync(variables, name="ftpsync-x", archive="x", places=WHERE, password_file=SECRET)


@pytest.mark.parametrize(
    ("archive", "script", "tree", "wanted"),
    [
        ("security", "ftpsync-x", "/srv/debian", "security"),
        ("de/b", "ftpsync", "/srv/debian", "de_b"),
        ("", "ftpsync-ports", "/srv/debian", "ports"),
        ("", "ftpsync", "/srv/mirrors/ubuntu/", "ubuntu"),
        ("", "ftpsync", "/srv/my mirror", "debian"),
        ("", "ftpsync", "/", "debian"),
        ("_", "ftpsync", "/srv/ubuntu", "ubuntu"),
    ],
)
def test_an_archive_is_named_by_the_first_that_says_it(archive, script, tree, wanted):
    assert archive_name(archive, script, tree) == wanted


def test_every_variable_has_the_default_of_the_script():
    found = read()
    archive = found.archive
    assert str(archive.upstream) == "rsync://up.example.org/debian"
    assert archive.path == Path("/srv/mirrors/debian")
    assert (archive.password_file, archive.proxy, archive.filter, archive.protect) == (None, None, (), ())
    assert archive.update_in_progress.wait == timedelta(minutes=20)
    assert archive.update_in_progress.retries == 3
    assert (archive.rsync, archive.rsync_options, archive.callback) == ("rsync", (), None)
    assert (found.is_hub, found.password, found.hooks, found.warnings) == (False, None, ((),) * 5, ())
    assert found.mail == Mail(("mirror",))
    assert found.logs == Logs(HOME / "log", HOME / "log/ftpsync-x.log", 14)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"RSYNC_PATH": "mod/sub/"}, "rsync://up.example.org/mod/sub"),
        ({"RSYNC_USER": "u"}, "rsync://u@up.example.org/debian"),
        ({"RSYNC_EXTRA": "--port=8730"}, "rsync://up.example.org:8730/debian"),
        ({"RSYNC_EXTRA": "--port 8730"}, "rsync://up.example.org:8730/debian"),
        ({"RSYNC_TRANSPORT": "ssh"}, "rsyncd+ssh://up.example.org/debian"),
        ({"RSYNC_EXTRA": "-e ssh"}, "rsyncd+ssh://up.example.org/debian"),
        ({"RSYNC_SSL": "true"}, "rsyncs://up.example.org:1873/debian"),
        ({"RSYNC_SSL": "false"}, "rsync://up.example.org/debian"),
        ({"RSYNC_TRANSPORT": "ssl", "RSYNC_SSL_PORT": "1874"}, "rsyncs://up.example.org:1874/debian"),
        ({"RSYNC_SOURCE": "a.example.org::mod"}, "rsync://a.example.org/mod"),
        ({"RSYNC_SOURCE": "u@a.example.org::mod/sub/"}, "rsync://u@a.example.org/mod/sub"),
        ({"RSYNC_SOURCE": "rsync://u@a.example.org:8730/mod/"}, "rsync://u@a.example.org:8730/mod"),
        ({"RSYNC_SOURCE": "u@a.example.org:/srv/debian/"}, "rsync+ssh://u@a.example.org/srv/debian"),
        ({"RSYNC_SOURCE": "[2001:db8::1]::mod"}, "rsync://[2001:db8::1]/mod"),
        ({"RSYNC_SOURCE": "/mnt/debian/"}, "file:///mnt/debian"),
    ],
)
def test_upstream_is_where_the_script_pulls_from(values, wanted):
    assert str(read(**values).archive.upstream) == wanted


@pytest.mark.parametrize("path", ["mod/debian", "mod/a/b"])
def test_bug_32_a_directory_without_its_slash_is_refused(path):
    with pytest.raises(ConfigError, match="RSYNC_PATH: expected a slash at the end") as caught:
        read(RSYNC_PATH=path)
    assert (caught.value.exit_code, f"{path}/" in str(caught.value.hint)) == (78, True)


def test_a_source_without_its_slash_is_refused_too():
    with pytest.raises(ConfigError, match="RSYNC_SOURCE: expected a slash at the end"):
        read(RSYNC_SOURCE="a.example.org::mod/debian")


def test_a_password_is_for_a_file_and_in_no_repr():
    found = read(RSYNC_USER="u", RSYNC_PASSWORD="hidden")
    assert (found.password, found.archive.password_file) == ("hidden", SECRET)
    assert "hidden" not in repr(found)


def test_a_password_without_a_user_is_the_login_s():
    assert str(read(RSYNC_PASSWORD="hidden").archive.upstream) == "rsync://mirror@up.example.org/debian"


def test_a_source_has_no_name_in_the_trace_but_that_of_rsync_host():
    assert read(RSYNC_SOURCE="a.example.org::mod").archive.upstream_name == "up.example.org"
    assert read(RSYNC_SOURCE="a.example.org::mod", RSYNC_HOST="").archive.upstream_name == "unknown"


@pytest.mark.parametrize(
    ("values", "part", "wanted"),
    [
        ({"RSYNC_BW": "500"}, "bandwidth_limit", 500),
        ({"PUSHMIRROR_KEYRING": "/k/a.gpg b.gpg"}, "keyring", (Path("/k/a.gpg"), HOME / "b.gpg")),
        ({"RSYNC_EXTRA": "--bwlimit=1m"}, "bandwidth_limit", 1024),
        ({"RSYNC_PROXY": "proxy.example.org:3128"}, "proxy", "proxy.example.org:3128"),
        ({"RSYNC_SSL": "true", "RSYNC_SSL_METHOD": "socat"}, "tls_method", TlsMethod.SOCAT),
        ({"RSYNC_SSL": "true"}, "tls_method", TlsMethod.STUNNEL),
        ({"RSYNC_SSL_CAPATH": "/etc/own\nTIMEOUTclose = 0"}, "tls_ca", Path("/etc/own")),
        ({"ARCH_INCLUDE": "amd64 source"}, "architectures", ("amd64", "source")),
        ({"ARCH_EXCLUDE": "s390x s390x"}, "exclude_architectures", ("s390x",)),
        ({"EXCLUDE": "--exclude=a --include b --exclude c"}, "filter", ("- a", "+ b", "- c")),
        ({"RSYNC_EXTRA": "--filter=protect_/mine/"}, "protect", ("/mine/",)),
        ({"RSYNC": "/opt/rsync -4"}, "rsync_options", ("-4",)),
        ({"RSYNC": "/opt/rsync -4"}, "rsync", "/opt/rsync"),
        ({"RSYNC": "nice -n 19 my-rsync"}, "rsync", "my-rsync"),
        ({"RSYNC_OPTIONS": f"--timeout {'9' * 10}"}, "timeout", timedelta(days=365)),
        ({"RSYNC_OPTIONS": "--timeout 60 -6"}, "timeout", timedelta(seconds=60)),
        ({"RSYNC_OPTIONS": "--timeout 60 -6"}, "rsync_options", ("-6",)),
        ({"RSYNC_EXTRA": "--contimeout=5"}, "connect_timeout", timedelta(seconds=5)),
        ({"RSYNC_EXTRA": "--address 192.0.2.1"}, "rsync_options", ("--address=192.0.2.1",)),
        ({"RSYNC_OPTIONS2": "--max-delete=7"}, "protect", ("*",)),
    ],
)
def test_what_a_variable_says_has_its_place(values, part, wanted):
    assert getattr(read(**values).archive, part) == wanted


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("7", Delete(max_files=7, max_share=1.0)),
        ("100000", Delete(max_files=100000, max_share=1.0)),
        ("40000", Delete()),
        ("0", Delete(max_files=0, max_share=1.0)),
        ("-1", Delete(max_files=0, max_share=1.0)),
    ],
)
def test_a_number_of_deletions_that_the_operator_chose_is_the_only_guard(told, wanted):
    assert read(RSYNC_OPTIONS2=f"--max-delete={told} --delete --delete-excluded").archive.delete == wanted


def test_what_is_excluded_stays_where_the_operator_left_delete_excluded_out():
    found = read(EXCLUDE="--exclude=/mine/", RSYNC_OPTIONS2="--delete --max-delete=9")
    assert found.archive.protect == ("/mine/",)


def test_hooks_keep_their_arguments_and_are_found_from_where_the_script_was_called():
    found = read(HOOK1="bin/hook one two", HOOK2="/bin/true", HOOK4="hook")
    assert found.hooks == ((f"{HOME}/bin/hook", "one", "two"), ("/bin/true",), (), ("hook",), ())
    assert found.archive.hooks.before_sync == found.hooks[0]
    assert found.archive.hooks.inherit_environment


def test_a_hook_may_be_a_function_of_the_file_which_is_told():
    found = read("mine", HOOK1="mine one", HOOK2="other")
    assert found.hooks[0][:2] == ("bash", "-c") and found.hooks[0][-3:] == ("--", "mine", "one")
    assert found.hooks[1] == ("other",)
    assert [warning.partition(" is a function")[0] for warning in found.warnings] == ["HOOK1: mine"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"RSYNC": "nice rsync"}, "RSYNC: nice is left out"),
        ({"RSYNC_OPTIONS": "-rlt --inplace"}, "-r -l -t --inplace"),
        ({"RSYNC_OPTIONS1": "--exclude=Packages*"}, "RSYNC_OPTIONS1"),
        ({"RSYNC_PROXY": "p.example.org:1", "RSYNC_TRANSPORT": "ssh"}, "RSYNC_PROXY"),
        ({"LOCKTIMEOUT": "60"}, "LOCKTIMEOUT"),
    ],
)
def test_what_has_no_counterpart_is_told(values, words):
    assert len(read(**values).warnings) == 1 and words in read(**values).warnings[0]


def test_the_script_s_own_options_are_no_reason_to_warn():
    options = "-prltvHSB8192 --safe-links --chmod=D755,F644 --timeout 120 --stats --no-human-readable"
    deleting = "--max-delete=40000 --delay-updates --delete --delete-delay --delete-excluded"
    assert read(RSYNC_OPTIONS=f"{options} --no-inc-recursive", RSYNC_OPTIONS2=deleting).warnings == ()


@pytest.mark.parametrize(
    ("values", "words", "code"),
    [
        ({"RSYNC_HOST": ""}, "RSYNC_HOST is missing", 1),
        ({"RSYNC_TRANSPORT": "pigeon"}, "RSYNC_TRANSPORT: expected ssh, ssl or nothing, found 'pigeon'", 1),
        ({"ARCH_INCLUDE": "a", "ARCH_EXCLUDE": "b"}, "mutually exclusive", 1),
        ({"ARCH_INCLUDE": "am*"}, "ARCH_INCLUDE: expected an architecture", 1),
        ({"MIRRORNAME": "master"}, 'MIRRORNAME: "master" is the trace', 1),
        ({"TO": "/"}, ": TO: / cannot be a tree", 1),
        ({"RSYNC_EXTRA": "--password-file=/x"}, "--password-file: expected a user", 1),
        ({"HOOK2": "a\0b"}, "HOOK2: expected", 1),
        ({"MIRRORNAME": "a/b"}, "MIRRORNAME: expected letters", 1),
        ({"UIPRETRIES": "many"}, "UIPRETRIES: expected a number, found 'many'", 1),
        ({"UIPSLEEP": "long"}, "UIPSLEEP: expected seconds, found 'long'", 1),
        ({"LOGROTATE": "x"}, "LOGROTATE: expected a number, found 'x'", 1),
        ({"RSYNC_BW": "9" * 5000}, "RSYNC_BW: expected a rate", 1),
        ({"RSYNC_BW": "fast"}, "RSYNC_BW: expected a rate", 1),
        ({"RSYNC_SSL": "true", "RSYNC_SSL_METHOD": "magic"}, "RSYNC_SSL_METHOD: expected", 1),
        ({"EXCLUDE": "--exclude='a b'"}, "EXCLUDE: expected rsync options", 78),
        ({"EXCLUDE": "--exclude"}, "EXCLUDE: expected a value after --exclude", 78),
        ({"EXCLUDE": "--exclude-from=/nowhere/list"}, "EXCLUDE: /nowhere/list cannot be read", 78),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(values: dict[str, Any], words, code):
    with pytest.raises(ConfigError) as caught:
        read(**values)
    assert words in str(caught.value)
    assert caught.value.exit_code == code


def test_no_error_shows_the_password_of_a_proxy():
    with pytest.raises(ConfigError, match="RSYNC_PROXY") as caught:
        read(RSYNC_PROXY="user:hidden@proxy")
    assert "hidden" not in str(caught.value)


def test_rules_of_a_file_are_read_in_their_place(tmp_path):
    file = tmp_path / "rules"
    file.write_text("# comment\n\n/one\n+ /two\n")
    found = read(EXCLUDE=f"--include=/first --exclude-from={file}").archive
    assert found.filter == ("+ /first", "- /one", "+ /two")
