"""What is wrong with a value, in an operator's words: key, what was found, what was expected.

Guaranteed: nothing that could hold a password is repeated.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pushmirror.config.types import WrongKey

_EXPECTED = {
    "string_type": "expected text in quotes",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "tuple_type": 'expected a list: ["…"]',
    "path_type": "expected a path in quotes",
    "model_type": "expected a section",
    "too_short": "expected at least one entry",
}
_FEW = 3
_MAY_BE_SECRET = ("password", "secret", "upstream", "database", "options", "proxy")


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The words for a key nobody knows, with the known one that was probably meant."""
    meant = did_you_mean(key, known)
    return "unknown key" + (meant or f"; known are {', '.join(sorted(known))}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the beginning of one or a few names, or a near miss, else nothing."""
    names, wanted = sorted(known), word.lower()
    begun = [name for name in names if wanted and name.lower().startswith(wanted)]
    meant = begun if len(begun) <= _FEW else []
    meant = meant or difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def explain(error: ValidationError, model: type[BaseModel], prefix: str) -> Iterator[str]:
    """One sentence for each error of a validation, each starting with the dotted key."""
    for details in error.errors(include_url=False):
        location = details["loc"]
        key = ".".join(part for part in (prefix, *map(str, location)) if part)
        if details["type"] == "extra_forbidden":
            yield f"{key}: {unknown_key(str(location[-1]), _keys_at(model, location[:-1]))}"
        elif isinstance(wrong := details.get("ctx", {}).get("error"), WrongKey):
            yield f"{key}.{wrong.key}: {wrong.what}" if key else str(wrong)
        elif details["type"] == "missing":
            yield f"{key}: this key is missing"
        else:
            yield f"{key}: {_expected(details)}{_found(key, details)}"


def message(details: ErrorDetails) -> str:
    """What a validator of ours said, without pydantic's words before it; else pydantic's own message."""
    return str(details.get("ctx", {}).get("error", details["msg"]))


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        if field and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return [name for name in model.model_fields if location or name != "name" or model.__name__ == "Mirror"]


def _expected(details: ErrorDetails) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "value_error":
        return message(details)
    if kind in {"enum", "literal_error"}:
        return f"expected {context.get('expected')}"
    if kind in {"greater_than_equal", "less_than_equal"}:
        bound = "at least" if kind.startswith("greater") else "at most"
        return f"expected {bound} {context.get('ge', context.get('le'))}"
    return _EXPECTED.get(kind, details["msg"])


def _found(key: str, details: ErrorDetails) -> str:
    value = details["input"]
    if isinstance(value, bool):
        return f", found {str(value).lower()}"
    if any(word in key for word in _MAY_BE_SECRET):
        return "" if isinstance(value, str) else f", found {_kind(value)}"
    if isinstance(value, str):
        return f', found "{value[:80]}"'
    return f", found {value}" if isinstance(value, int | float) else f", found {_kind(value)}"


def _kind(value: object) -> str:
    kinds = {dict: "a section", list: "a list", int: "a number", float: "a number", str: "text"}
    return kinds.get(type(value), f"a {type(value).__name__}")
