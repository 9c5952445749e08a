"""The words of a trigger."""

import pytest

from pushmirror.config.model import Site
from pushmirror.push.trigger import (
    MAX_WORD,
    MAX_WORDS,
    combined,
    parse_trigger,
    without_generation,
    words_for,
    words_of,
    words_to,
)
from pushmirror.state.records import Stage

ALL, ONE, TWO = Stage.ALL, Stage.STAGE1, Stage.STAGE2
DIGEST, OTHER = "0123456789abcdef" * 4, "f" * 64


@pytest.mark.parametrize(
    ("words", "archive", "stage", "mhop"),
    [
        ("", "", ALL, False),
        ("sync:all", "", ALL, False),
        ("sync:stage1", "", ONE, False),
        ("sync:stage2", "", TWO, False),
        ("sync:stage1 sync:stage2", "", ALL, False),
        ("sync:stage1 sync:all", "", ALL, False),
        ("sync:all sync:stage1", "", ONE, False),
        ("sync:all sync:stage2 sync:stage1", "", ALL, False),
        ("sync:stage1 sync:stage1", "", ONE, False),
        ("sync:stage2 sync:mhop", "", TWO, True),
        ("sync:archive:debian sync:all", "debian", ALL, False),
        ("sync:archive:debian sync:archive:security", "security", ALL, False),
        ("sync:archive:debian sync:archive:", "", ALL, False),
        ("  sync:archive:a.b-c_1\t sync:stage1\n", "a.b-c_1", ONE, False),
    ],
)
def test_words_have_the_meaning_that_ftpsync_gives_them(
    words: str, archive: str, stage: Stage, mhop: bool
) -> None:
    trigger = parse_trigger(words.split())
    assert (trigger.archive, trigger.stage, trigger.mhop) == (archive, stage, mhop)
    assert trigger.ignored == ()


@pytest.mark.parametrize(
    "word",
    [
        "sync",
        "sync:",
        "sync:stage3",
        "SYNC:all",
        "sync:all:",
        "sync:archive",
        "sync:generation",
        "sync:generation:",
        f"sync:generation:{DIGEST[1:]}",
        f"sync:generation:{DIGEST}0",
        f"sync:generation:{DIGEST.upper()}",
        f"sync:generation:{DIGEST[1:]}g",
        f"sync:generation:{DIGEST}:",
        "sync:generation:run 7",
        "*",
        "$(id)",
        "-T",
        "--config=/etc/shadow",
        "",
    ],
)
def test_other_words_mean_nothing_and_are_named(word: str) -> None:
    trigger = parse_trigger([word])
    assert (trigger.archive, trigger.stage, trigger.ignored) == ("", ALL, (word,))
    assert trigger.generation is None


def test_a_push_may_name_the_generation_that_there_is_to_fetch() -> None:
    words = f"sync:generation:{OTHER} sync:archive:debian sync:generation:{DIGEST} sync:stage1".split()
    trigger = parse_trigger(words)
    assert (trigger.generation, trigger.stage, trigger.ignored) == (DIGEST, ONE, ())


def test_a_callback_is_understood() -> None:
    assert parse_trigger(["sync:callback"]).callback


def test_words_of_the_forced_command_come_last() -> None:
    assert words_of(" sync:all  sync:mhop ", ["sync:archive:x"]) == [
        "sync:all",
        "sync:mhop",
        "sync:archive:x",
    ]


def test_words_are_bounded_in_number_and_length() -> None:
    words = words_of("x" * 10_000 + " y" * 10_000, [])
    assert len(words) == MAX_WORDS and len(words[0]) == MAX_WORD


def test_the_words_of_the_forced_command_survive_any_number_of_others() -> None:
    assert words_of("x " * 10_000, ["sync:archive:debian"])[-1] == "sync:archive:debian"


@pytest.mark.parametrize(
    ("stages", "run"), [([], ALL), ([ONE], ONE), ([TWO, TWO], TWO), ([ONE, TWO], ALL), ([ONE, ALL], ALL)]
)
def test_one_run_serves_all_that_was_asked_for(stages: list[Stage], run: Stage) -> None:
    assert combined(stages) is run


@pytest.mark.parametrize("name", ["debian", "../etc", "a:b", "$(id)"])
def test_any_archive_may_be_named_for_it_is_only_looked_up(name: str) -> None:
    assert parse_trigger([f"sync:archive:{name}"]).archive == name


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"push": "all"}, " sync:archive:debian sync:stage1"),
        ({"push": "mhop"}, " sync:archive:debian sync:mhop sync:stage1"),
        ({"push": "staged", "callback": True}, " sync:archive:debian sync:callback sync:stage1"),
        ({"push": "mhop", "callback": True}, " sync:archive:debian sync:callback sync:mhop sync:stage1"),
        ({"main_archive": "debian"}, " sync:archive: sync:stage1"),
        (
            {"archive_names": {"debian": "main"}, "callback": True},
            " sync:archive:main sync:callback sync:stage1",
        ),
    ],
)
def test_a_site_is_sent_its_words_in_the_order_of_runmirrors(keys: dict[str, object], words: str) -> None:
    always = {"name": "site1", "host": "h", "user": "me", "archives": ["debian"]}
    assert words_to(Site.model_validate(always | keys), "debian", ONE) == words


@pytest.mark.parametrize("stage", [ONE, TWO, ALL])
def test_a_site_is_told_the_generation_before_the_stage(stage: Stage) -> None:
    site = Site(name="site1", host="h", user="me", archives=["debian"], push="mhop", callback=True)
    words = words_to(site, "debian", stage, DIGEST)
    assert words == f" sync:archive:debian sync:callback sync:mhop sync:generation:{DIGEST} sync:{stage}"
    assert parse_trigger(words.split()).generation == DIGEST


@pytest.mark.parametrize("generation", ["", "run 7", "a" * 40, DIGEST.upper()])
def test_what_is_no_digest_is_not_sent(generation: str) -> None:
    assert words_for("debian", ONE, generation=generation) == " sync:archive:debian sync:stage1"


def test_without_the_generation_the_words_are_those_of_runmirrors() -> None:
    told = {"mhop": True, "callback": True}
    assert without_generation(words_for("", ONE, **told, generation=DIGEST)) == words_for("", ONE, **told)


def test_a_digest_is_within_the_bounds_of_a_word() -> None:
    assert words_of(words_for("debian", ALL, generation=DIGEST), [])[1] == f"sync:generation:{DIGEST}"
