"""Release files as tools and people write them."""

from __future__ import annotations

from field.builder import CONTENTS
from field.case import Case, held, odd, taken

CASES = [
    taken("control"),
    taken("lists_itself", odd(change=lambda text: f"{text} {'0' * 64} 12 Release\n")),
    held("unsigned", odd(files=["Release"])),
]
