"""A Config as the text of its files: pushmirror.toml and one for each site. Pure.

Guaranteed: what is written is read as the same Config again; only what differs from the defaults is written,
but for what would depend on who calls pushmirror: its name, the key and the state directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

import tomlkit
from tomlkit.items import Item, Table

from pushmirror.config.delay import Wait
from pushmirror.config.model import Config, Site, Values

_HEAD = "Made by `pushmirror import`; to be edited at will. `pushmirror check` says whether it is right."
_SITE_HEAD = "Made by `pushmirror import`; to be edited at will."
_COMMENTS = {
    "mirror.name": "of this mirror's file in project/trace/",
    "archives.module": "what sites read, as HOST::MODULE",
    "archives.password_file": "mode 0600, the password on its first line",
    "archives.access": "who may read it from our rsync daemon",
    "archives.filter": "the first that matches decides, as in rsync(1)",
    "push.key": "its .pub is what the sites have",
    "push.deadline": "how long stage 2 waits for late sites",
    "state.directory": "the same for whoever calls pushmirror",
    "site.main_archive": "told to it without a name",
    "site.archive_names": "of ours, that it is told by another name",
    "site.reads": "and is not woken for",
}
_ALWAYS = {"mirror.name", "push.key", "state.directory"}
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def render(config: Config) -> str:
    """The text of pushmirror.toml."""
    document = tomlkit.document()
    document.add(tomlkit.comment(_HEAD))
    document.add(tomlkit.nl())
    document["mirror"] = _section("mirror", config.mirror)
    archives = tomlkit.table(is_super_table=True)
    for name, archive in config.archives.items():
        archives[name] = _section("archives", archive, without={"name"})
    if config.archives:
        document["archives"] = archives
    for key in ("push", "serve", "state"):
        section = _section(key, getattr(config, key))
        if section:
            document[key] = section
    return tomlkit.dumps(document)


def render_site(site: Site) -> str:
    """The text of a site's file."""
    document = tomlkit.document()
    document.add(tomlkit.comment(_SITE_HEAD))
    for key, value in _said("site", site, without={"name"}):
        document[key] = _item(f"site.{key}", value)
    return tomlkit.dumps(document)


def _section(prefix: str, values: Values, *, without: set[str] | None = None) -> Table:
    table = tomlkit.table()
    below: dict[str, Table] = {}
    for key, value in _said(prefix, values, without=without or set()):
        if isinstance(value, Values):
            below[key] = _section(f"{prefix}.{key}", value)
            continue
        table[key] = _item(f"{prefix}.{key}", value)
    for key, section in below.items():  # after the keys, for a table ends where another begins
        table[key] = section
    return table


def _item(key: str, value: object) -> Item:
    item = tomlkit.item(value)
    if comment := _COMMENTS.get(key):
        item.comment(comment)
        item.trivia.comment_ws = "  "
    return item


def _said(prefix: str, values: Values, *, without: set[str]) -> Iterator[tuple[str, Any]]:
    """Every key that has to be written, and its value as TOML has it, or as a section of its own."""
    for key, field in type(values).model_fields.items():
        value = getattr(values, key)
        if key in without:
            continue
        if (
            f"{prefix}.{key}" in _ALWAYS
            or field.is_required()
            or value != field.get_default(call_default_factory=True)
        ):
            yield key, _plain(value)


def _plain(value: object) -> Any:
    found: Any = str(value)  # a Path, an Upstream
    match value:
        case Values() | bool() | int() | float():
            found = value
        case Enum():
            found = value.value
        case timedelta():
            found = _span(value)
        case Wait():
            found = f"{_span(value.at_most)}{' or stage1' if value.until_stage1 else ''}"
        case Mapping():
            found = tomlkit.inline_table()
            found.update({name: _plain(one) for name, one in value.items()})
        case tuple():
            found = _listed([_plain(one) for one in value])
    return found


def _listed(words: list[Any]) -> Any:
    """A list; one that is long has a line for each entry."""
    told = ", ".join(tomlkit.item(word).as_string() for word in words)
    array: Any = tomlkit.value(f"[{told}]")  # Array.extend takes the square of their number
    return array.multiline(sum(len(str(word)) + 4 for word in words) > 90)


def _span(value: timedelta) -> str:
    seconds = value.total_seconds()
    for unit, length in _UNITS:
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
