from __future__ import annotations

import pytest

from pushmirror.config.legacy import bash
from pushmirror.config.legacy.bash import NeedsBash

KNOWN = {"HOME": "/home/u", "NAME": "ftpsync-security", "EMPTY": "", "FILE": "/srv/a.b/c.d"}
COMMANDS = {"hostname": lambda: "mirror", "hostname -f": lambda: "mirror.example.org", "whoami": lambda: None}


def read(text):
    return bash.read(text, known=KNOWN, substitutions=COMMANDS)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# TO=/srv\n\n  \t# more\n", {}),
        ("TO=/srv", {"TO": "/srv"}),
        ("A=1 B=$A; C=3 # all\n", {"A": "1", "B": "1", "C": "3"}),
        ("A=", {"A": ""}),
        ("A=#b", {"A": "#b"}),
        ("A='$X `date` \"' B=\"it's\"", {"A": '$X `date` "', "B": "it's"}),
        ('A="a\\"b\\$c\\d\\\\"', {"A": 'a"b$c\\d\\'}),
        ("A=$'a\\tb\\'\\x41\\101'", {"A": "a\tb'AA"}),
        ("A=a\\ b'c d'\"e f\"", {"A": "a bc de f"}),
        ("A=a\\\nb \\\n B=c", {"A": "ab", "B": "c"}),
        ("A='one\ntwo'\nB=\"one\ntwo\"", {"A": "one\ntwo", "B": "one\ntwo"}),
        ("A=--exclude=*.iso B=[a-z]{1,2}", {"A": "--exclude=*.iso", "B": "[a-z]{1,2}"}),
        ("E=a; E+=' b' F+=c", {"E": "a b", "F": "c"}),
        ("A=/log/${NAME}.log B=$NAME.x", {"A": "/log/ftpsync-security.log", "B": "ftpsync-security.x"}),
        ('A=$ B=a$/ C="$"', {"A": "$", "B": "a$/", "C": "$"}),
        ("K=~/.ssh/key L=~ M=a:~/b", {"K": "/home/u/.ssh/key", "L": "/home/u", "M": "a:/home/u/b"}),
        ("N=x~ O='~' P=\\~", {"N": "x~", "O": "~", "P": "~"}),
        ('A=--opt=~/x B="~/x"', {"A": "--opt=~/x", "B": "~/x"}),
        ('A=$(hostname -f) B="`hostname`"', {"A": "mirror.example.org", "B": "mirror"}),
        ('A="on $( hostname  -f )"', {"A": "on mirror.example.org"}),
    ],
)
def test_assignments_are_read_as_bash_does(text, values):
    assert read(text).values == values


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("${NO:-y}", "y"),
        ("${EMPTY:-a   b}", "a   b"),
        ("${EMPTY-y}", ""),
        ("${NO:-${NO2:-z}}", "z"),
        ("${NO:-~/x}", "/home/u/x"),
        ('"${NO:-~/x}"', "~/x"),
        ("${NAME:-$UNSET}", "ftpsync-security"),
        ("${NAME:+y}${EMPTY:+n}${EMPTY+z}${NO+n}", "yz"),
        ("${NAME:?never said}", "ftpsync-security"),
        ("${FILE%.*}", "/srv/a.b/c"),
        ("${FILE%%.*}", "/srv/a"),
        ("${FILE#*/}", "srv/a.b/c.d"),
        ("${FILE##*/}", "c.d"),
        ("${FILE%.?}", "/srv/a.b/c"),
        ("${FILE%nothing}", "/srv/a.b/c.d"),
        ("${FILE#*/*/}", "a.b/c.d"),
        ("${FILE##*.*/?}", ".d"),
        ("${FILE%b*c*}", "/srv/a."),
        ("${FILE%%r*.**}", "/s"),
    ],
)
def test_braces_expand_as_in_bash(word, value):
    assert read(f"A={word}").values["A"] == value


def test_a_default_is_set_where_nothing_is():
    text = ': ${TO:=/srv/debian} "${HUB:=no way}" ${NAME:=x} ${TO:=y}'
    assert read(text).values == {"TO": "/srv/debian", "HUB": "no way"}


def test_what_is_exported_is_known():
    found = read("A=1\nexport A B=~/x C\nexport D=$A\n")
    assert (found.values, found.exported) == ({"A": "1", "B": "/home/u/x", "D": "1"}, {*"ABCD"})


def test_words_of_an_export_do_not_see_each_other():
    assert read("A=old\nexport A=new B=$A").values == {"A": "new", "B": "old"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A=1\n\nif true; then\n", "line 3: if"),
        ("for i in a b", "line 1: for"),
        ("f() {\n:\n}", "line 1: a function"),
        ("A=(a b)", "line 1: an array"),
        ("A[1]=b", "line 1: an array"),
        ("A+=(b)", "line 1: an array"),
        ("A=1 env", "line 1: a command"),
        (". /etc/default/ftpsync", "line 1: ."),
        ("source other", "line 1: source"),
        ("A=$(date -u)", "line 1: the output of a command"),
        ("A=`date`", "line 1: the output of a command"),
        ("A=$(whoami)", "line 1: the output of whoami"),
        ("A=$((1+1))", "line 1: arithmetic"),
        ("A=$1", "line 1: $1"),
        ("A=x\nB=$UNSET", "line 2: a variable that is not set"),
        ("A=${UNSET:?}", "line 1: a variable that is not set"),
        ("A=${FILE/a/b}", "line 1: an unusual ${…}"),
        ("A=${#FILE}", "line 1: an unusual ${…}"),
        ("A=~other/x", "line 1: a ~ that is not one's own home"),
        ("A=1 | cat", "line 1: a command"),
        ("A=1|cat", "line 1: an unquoted |"),
        ("A=1 && B=2", "line 1: a command"),
        ("A=<(cat)", "line 1: an unquoted <"),
        ("export A={a,b}", "line 1: an unquoted {"),
        ("export -n A", "line 1: export of something else"),
        ("PATH=$PATH:~/bin", "line 1: PATH, which is bash's own"),
        ("A=$RANDOM", "line 1: RANDOM, which is bash's own"),
        ("LC_ALL=C", "line 1: LC_ALL, which is bash's own"),
        ("A='open\nB=1", "line 1: an end within quotes or braces"),
        ("A=1\n\r\nB=2", "line 2: a carriage return"),
        ("A=1\\", "line 1: an end within quotes or braces"),
    ],
)
def test_anything_else_is_for_bash(text, reason):
    with pytest.raises(NeedsBash) as found:
        read(text)
    assert str(found.value) == reason


@pytest.mark.parametrize(
    "text", ["RSYNC_PASSWORD= hush", "RSYNC_PASSWORD=a;hush", "hush hush", 'RSYNC_PASSWORD="a$hush"']
)
def test_no_reason_quotes_what_might_be_a_password(text):
    with pytest.raises(NeedsBash) as found:
        read(text)
    assert "hush" not in str(found.value)


def test_bytes_of_another_encoding_stay_as_they_are():
    text = b"INFO_LOCATION='Z\xfcrich'".decode("utf-8", "surrogateescape")
    assert read(text).values["INFO_LOCATION"].encode("utf-8", "surrogateescape") == b"Z\xfcrich"
