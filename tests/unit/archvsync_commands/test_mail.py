from __future__ import annotations

import logging
from email import message_from_bytes
from email.policy import default

import pytest

from pushmirror.archvsync_commands import mail
from pushmirror.archvsync_commands.mail import (
    Attachment,
    Due,
    Ending,
    Letter,
    Part,
    due,
    heading,
    render,
    send,
)
from pushmirror.archvsync_config.values import Mail

LOG, RSYNC, RSYNC_ERRORS = Part.LOG, Part.RSYNC, Part.RSYNC_ERRORS
LETTER = Letter(("a@example.org", "b@example.org"), "[ftpsync@mirror] ERROR", "what went wrong")
SENDMAIL = '#!/bin/sh\nprintf "%s\\n" "$@" >"$0.args"\ncat >"$0.mail"\n'


def parsed(letter):
    return message_from_bytes(render(letter), policy=default)


def sendmail(tmp_path, text=SENDMAIL):
    program = tmp_path / "sendmail"
    program.write_text(text)
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("ending", "keys", "expected"),
    [
        (Ending(0), {}, None),
        (Ending(0), {"full_logs": True}, None),
        (Ending(0, error_told=True), {}, None),
        (Ending(0), {"errors_only": False}, Due("SUCCESS", (LOG,))),
        (Ending(0), {"errors_only": False, "full_logs": True}, Due("SUCCESS", (LOG, RSYNC))),
        (Ending(0, error_told=True), {"errors_only": False}, Due("ERROR", (LOG,))),
        (Ending(3), {}, Due("ERROR", (LOG,))),
        (Ending(3), {"full_logs": True}, Due("ERROR", (LOG, RSYNC))),
        (Ending(0, True), {}, Due("ERROR: rsync errors", (RSYNC_ERRORS, LOG))),
        (Ending(4, True), {"full_logs": True}, Due("ERROR: rsync errors", (RSYNC_ERRORS, LOG, RSYNC))),
    ],
)
def test_a_mail_is_due_as_ftpsync_has_it(ending, keys, expected):
    assert due(Mail(("a@example.org",), **keys), ending) == expected


def test_nobody_to_tell_gets_no_mail():
    assert due(Mail(()), Ending(4, True)) is None


def test_bug_31_two_addresses_make_a_valid_header():
    to = parsed(LETTER)["To"]
    assert [address.addr_spec for address in to.addresses] == ["a@example.org", "b@example.org"]
    assert not to.defects


def test_bug_31_sendmail_gets_each_address_as_a_word(tmp_path):
    assert send(LETTER, program=sendmail(tmp_path))
    assert (tmp_path / "sendmail.args").read_text().splitlines() == ["-i", "--", *LETTER.to]
    assert (tmp_path / "sendmail.mail").read_bytes() == render(LETTER)


@pytest.mark.parametrize("text", ["#!/bin/sh\ncat >/dev/null; echo no such user >&2; exit 67\n", None])
def test_bug_31_a_sendmail_that_fails_or_is_missing_is_a_warning(tmp_path, caplog, text):
    program = sendmail(tmp_path, text) if text else str(tmp_path / "none")
    assert not send(LETTER, program=program)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "the mail to a@example.org, b@example.org was not sent" in record.getMessage()


def test_the_environment_names_another_sendmail(tmp_path):
    send(LETTER, environment={"SENDMAIL": sendmail(tmp_path)})
    assert (tmp_path / "sendmail.mail").exists()


def test_a_local_user_is_an_address():
    assert "To: archvsync\n" in render(Letter(("archvsync",), "s", "b")).decode()


def test_a_mail_is_marked_as_a_machines():
    assert parsed(LETTER)["Auto-Submitted"] == "auto-generated"


def test_attachments_are_text_that_is_shown():
    letter = Letter(("a",), "s", "b", (Attachment("ftpsync.log", "Zürich\n".encode()),))
    (part,) = parsed(letter).iter_attachments()
    assert (part.get_content_type(), part.get_filename(), part.get_content_disposition()) == (
        "text/plain",
        "ftpsync.log",
        "inline",
    )
    assert part.get_content() == "Zürich\n"


@pytest.mark.parametrize(
    "data", [b"Z\xfcrich\0\x1b[1m\n", b"x" * 5000 + b"\n", b"a\r\nb\rc\n", b"", b".\n\nFrom me\n"]
)
def test_any_log_can_be_mailed_as_ascii_lines_of_bearable_length(data):
    raw = render(Letter(("a",), "Zürich \udcfc", "ü\udcfc", (Attachment("l\udcfc.log", data),)))
    assert raw.isascii()
    assert max(map(len, raw.split(b"\n"))) < 998


def test_what_was_left_out_of_an_attachment_is_said():
    letter = Letter(("a",), "s", "b", (Attachment("l.log", b"end\n", left_out=7),))
    (part,) = parsed(letter).iter_attachments()
    assert part.get_content() == "[the first 7 bytes are omitted]\nend\n"


def test_a_subject_is_one_line():
    assert heading("ftpsync", "mirror", "ERROR: a\nBcc: b") == "[ftpsync@mirror] ERROR: a Bcc: b"


def test_an_address_that_no_header_can_hold_is_a_warning(tmp_path, caplog):
    assert not mail.send(Letter(("a\nBcc: b",), "s", "b"), program=sendmail(tmp_path))
    assert "was not sent" in caplog.text


def test_sendmail_may_be_a_program_with_arguments(tmp_path):
    told = {"SENDMAIL": f"{sendmail(tmp_path)} -C 'a file'"}
    assert mail.send(Letter(("a@example.org",), "s", "b"), environment=told)
    assert (tmp_path / "sendmail.args").read_text().split("\n")[:3] == ["-C", "a file", "-i"]


def test_a_sendmail_that_no_shell_would_understand_is_a_warning(caplog):
    assert not mail.send(Letter(("a@example.org",), "s", "b"), environment={"SENDMAIL": "'"})
    assert "was not sent" in caplog.text
