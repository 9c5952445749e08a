"""Names that archives, modules, sites and users share the rules of, and what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count

from pydantic import ValidationError

from pushmirror.config.explain import message

#: As config/types.py has it for archives and sites.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """The name, or with the first number behind it that nobody has."""
    if not is_taken(name):
        return name
    return next(one for number in count(2) if not is_taken(one := f"{name}-{number}"))


def reason(error: ValidationError) -> str:
    """Why a value cannot be one of the model, with its key."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    return f"{key}: {message(first)}" if key else message(first)
