from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pushmirror.config import loader
from pushmirror.config.model import PushKind, Strategy
from pushmirror.errors import ConfigError

GOOD = """
[mirror]
name = "mirror.example.org"

[archives.debian]
path = "/srv/mirrors/debian"
upstream = "rsync://site1@hub.example.org/debian"
architectures = ["amd64", "source"]
grace = "2d"
bandwidth_limit = "20M"
keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

[archives.debian.hooks]
after_publish = ["/usr/bin/logger", "published"]
"""
SITE = 'host = "h"\nuser = "u"\narchives = ["debian"]\n'


@pytest.fixture
def write(tmp_path):
    def write(text: str = GOOD, **sites: str) -> Path:
        (tmp_path / "pushmirror.toml").write_text(text)
        (tmp_path / "sites.d").mkdir(exist_ok=True)
        for name, site in sites.items():
            (tmp_path / "sites.d" / f"{name}.toml").write_text(site)
        return tmp_path

    return write


def problems(directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loader.load(directory)
    return str(caught.value).replace(f"{directory}/", "").splitlines()


def test_what_is_written_becomes_the_model(write):
    config = loader.load(write(site1=SITE + 'push = "mhop"\nport = 2222\n'))
    archive, site = config.archives["debian"], config.sites["site1"]
    assert (archive.name, archive.path) == ("debian", Path("/srv/mirrors/debian"))
    assert (archive.grace, archive.bandwidth_limit) == (timedelta(days=2), 20480)
    assert archive.hooks.after_publish == ("/usr/bin/logger", "published")
    assert archive.keyring == (Path("/usr/share/keyrings/debian-archive-keyring.gpg"),)
    assert (site.name, site.push, site.port) == ("site1", PushKind.MHOP, 2222)


def test_what_is_left_out_has_the_documented_default(write):
    archive = loader.load(write('[archives.a]\npath = "/srv/a"\n')).archives["a"]
    assert archive.strategy is Strategy.AUTO and archive.upstream is None
    assert (archive.grace, archive.timeout) == (timedelta(hours=36), timedelta(seconds=120))
    assert (archive.delete.max_files, archive.delete.max_share) == (40_000, 0.25)


def test_the_file_itself_can_be_named(write):
    assert loader.load(write() / "pushmirror.toml").source == loader.load(write()).source


def test_the_environment_names_the_configuration(write, monkeypatch):
    monkeypatch.setenv("PUSHMIRROR_CONFIG", str(write()))
    assert "debian" in loader.load().archives


def test_root_looks_into_etc_first_and_others_into_their_home(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert loader.usual_places()[0] == Path("/etc/pushmirror")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert loader.usual_places()[1] == Path("/etc/pushmirror")


def test_a_configuration_that_is_nowhere_says_where_it_was_looked_for(monkeypatch, tmp_path):
    monkeypatch.delenv("PUSHMIRROR_CONFIG", raising=False)
    monkeypatch.setattr(loader, "usual_places", lambda: [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ConfigError, match=r"no pushmirror\.toml in .*/a or .*/b") as caught:
        loader.load()
    assert "pushmirror init" in caught.value.hint


def test_a_missing_file_is_named(tmp_path):
    assert problems(tmp_path) == ["pushmirror.toml: cannot be read: No such file or directory"]


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
def test_a_value_that_python_has_no_room_for_is_named(write, value):
    (line,) = problems(write(f"[mirror]\nname = {value}\n"))
    assert line.startswith("pushmirror.toml: not valid TOML:") and len(line) < 500


def test_bad_syntax_is_named_with_its_line(write):
    (line,) = problems(write("[mirror]\nname = \n"))
    assert line.startswith("pushmirror.toml: not valid TOML:") and "line 2" in line


def test_every_problem_is_said_at_once(write):
    bad = GOOD.replace("grace", "grase") + "[pusch]\n[push]\ndeadline = -1\n"
    unknown = 'archives: found "debain", expected an archive of pushmirror.toml'
    found = problems(write(bad, one=SITE.replace("debian", "debain"), two="host = 3"))
    assert found == [
        "pushmirror.toml: pusch: unknown key; did you mean push?",
        'pushmirror.toml: push.deadline: expected a duration such as "36h", "10min", "90s" or "1d", found -1',
        "pushmirror.toml: archives.debian.grase: unknown key; did you mean grace?",
        "sites.d/two.toml: host: expected text in quotes, found 3",
        "sites.d/two.toml: user: this key is missing",
        "sites.d/two.toml: archives: this key is missing",
        f"sites.d/one.toml: {unknown}; did you mean debian?",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("path = 3", "archives.a.path: expected a path in quotes, found 3"),
        ('path = "srv"', 'archives.a.path: expected an absolute path, found "srv"'),
        (
            'path = "~nosuchuser/x"',
            "archives.a.path: expected an absolute path; there is no such user's home",
        ),
        ('path = "/srv/\\u0000"', "archives.a.path: expected a path without control characters"),
        ('path = "/"', "archives.a.path: / cannot be a tree"),
        ('strategy = "fast"', "expected 'auto', 'full', 'index' or 'manifest', found \"fast\""),
        ("rounds = true", "archives.a.rounds: expected a whole number, found true"),
        ('rounds = "5"', 'archives.a.rounds: expected a whole number, found "5"'),
        ("rounds = 0", "archives.a.rounds: expected at least 1, found 0"),
        ('timeout = "0s"', "archives.a.timeout: expected a duration of at least one second"),
        ('time_limit = "0s"', "archives.a.time_limit: expected a duration of at least one second"),
        ('min_rate = "slow"', "archives.a.min_rate: expected a rate in KiB/s"),
        (
            'bandwidth_limit = "50K"\nmin_rate = "50K"',
            "archives.a.min_rate: expected less than bandwidth_limit",
        ),
        ('exclude = "x"', 'archives.a.exclude: expected a list: ["…"], found "x"'),
        ('architectures = ["AMD 64"]', "archives.a.architectures.0: expected an architecture such as amd64"),
        ("delete.max_share = 1.5", "archives.a.delete.max_share: expected at most 1.0, found 1.5"),
        ("delete.max_fles = 1", "archives.a.delete.max_fles: unknown key; did you mean max_files?"),
        ("hooks = 1", "archives.a.hooks: expected a section, found 1"),
        ('name = "b"', "archives.a.name: unknown key; the name is already a"),
        (
            'architectures = ["i386"]\nexclude_architectures = ["amd64"]',
            "archives.a: architectures and exclude_architectures contradict each other",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(write, line, said):
    path = "" if line.startswith("path") else 'path = "/srv/a"\n'
    assert said in "\n".join(problems(write(f"[archives.a]\n{path}{line}\n")))


def test_a_section_that_is_no_section_is_named(write):
    assert problems(write('archives = 3\nmirror = "x"')) == [
        "pushmirror.toml: mirror: expected a section [mirror]",
        "pushmirror.toml: archives: expected sections [archives.NAME]",
    ]


@pytest.mark.parametrize(
    ("one", "other"), [("/srv/a", "/srv/a/"), ("/srv/a", "/srv/a/b"), ("/srv/x/../a", "/srv/a")]
)
def test_two_archives_need_two_separate_trees(write, one, other):
    (line,) = problems(write(f'[archives.a]\npath = "{one}"\n[archives.b]\npath = "{other}"\n'))
    assert "archives.b.path" in line and "archives.a" in line


def test_a_tree_reached_by_a_link_is_the_same_tree(write, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    text = f'[archives.a]\npath = "{tmp_path}/tree"\n[archives.b]\npath = "{tmp_path}/link"\n'
    assert "archives.b.path" in problems(write(text))[0]


def test_a_tree_behind_a_loop_of_links_is_no_crash(write, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert loader.load(write(f'[archives.a]\npath = "{tmp_path}/loop"\n'))


def test_a_place_that_may_not_be_looked_into_is_named(write, monkeypatch):
    directory = write()

    def forbidden(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", forbidden)
    assert problems(directory) == ["sites.d: cannot be read: Permission denied"]


def test_a_dot_names_the_current_directory(write, monkeypatch):
    monkeypatch.chdir(write())
    assert "debian" in loader.load(Path()).archives


def test_trees_with_a_common_beginning_are_separate(write):
    assert loader.load(write('[archives.a]\npath = "/srv/a"\n[archives.b]\npath = "/srv/ab"\n'))


def test_the_same_site_in_two_files_is_a_duplicate(write):
    (line,) = problems(write(one=SITE, two=SITE.replace('"h"', '"H."')))
    assert line == "sites.d/two.toml: duplicate site: one.toml has this host, user, port and archive too"


def test_of_many_duplicates_each_is_named_once(write):
    lines = problems(write(**{f"s{number:02}": SITE for number in range(13)}))
    assert lines == [
        f"sites.d/s{number:02}.toml: duplicate site: s00.toml has this host, user, port and archive too"
        for number in range(1, 13)
    ]


def test_site_names_differ_in_more_than_case(write):
    (line,) = problems(write(one=SITE, ONE=SITE.replace('"h"', '"other"')))
    assert line == "sites.d/one.toml: expected a name that differs in more than case from ONE.toml"


def test_an_archive_with_a_mistake_is_not_unknown_to_its_sites(write):
    assert len(problems(write(GOOD.replace("grace", "grase"), one=SITE))) == 1


def test_an_editors_hidden_file_is_no_site(write):
    assert loader.load(write(**{".#one": "half writ"})).sites == {}


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "", "a b", "a;b"])
def test_a_host_that_ssh_could_take_for_something_else_is_refused(write, host):
    assert "expected a host name or address" in problems(write(one=SITE.replace('"h"', f'"{host}"')))[0]


def test_a_password_in_the_wrong_place_is_never_repeated(write):
    text = (
        GOOD.replace("site1@", "site1:hunter2@")
        + 'password = "hunter2"\n[state]\ndatabase = "a:hunter2\\u0007"\n'
    )
    found = problems(write(text))
    assert len(found) == 3 and "hunter2" not in "\n".join(found)


def test_a_mistake_in_a_sites_file_is_told_and_the_rest_goes_on_without_sites(write):
    told = []
    there = write(one=SITE, two=SITE.replace('"h"', '"other"') + 'push = "stged"\n')
    config = loader.load(there, on_broken_sites=told.append)
    assert "debian" in config.archives and config.sites == {}
    assert [str(exc).partition("sites.d/")[2] for exc in told] == [
        "two.toml: push: expected 'all', 'staged', 'mhop' or 'none', found \"stged\""
    ]


def test_a_mistake_of_the_main_file_stays_an_error_beside_that_of_a_site(write):
    with pytest.raises(ConfigError, match=r"(?s)grase.*one\.toml"):
        loader.load(write(GOOD.replace("grace", "grase"), one="host = 3"), on_broken_sites=lambda _: None)


def test_an_unknown_archive_is_named_beside_the_other_mistakes_of_its_file(write):
    found = problems(write(one=SITE.replace("debian", "debain") + 'port = "22211"\n'))
    assert len(found) == 2 and "sites.d/one.toml: port" in found[0] and "did you mean debian?" in found[1]


@pytest.mark.parametrize("archives", ["3", '"debian"', '{a = "debian"}'])
def test_archives_that_are_no_list_of_names_are_one_mistake(write, archives):
    (line,) = problems(write(one=SITE.replace('["debian"]', archives)))
    assert line.startswith("sites.d/one.toml: archives")


@pytest.mark.parametrize("key", ["canary", "paused"])
def test_yes_is_not_true(write, key):
    (line,) = problems(write(one=f'{SITE}{key} = "yes"\n'))
    assert line == f'sites.d/one.toml: {key}: expected true or false, found "yes"'
