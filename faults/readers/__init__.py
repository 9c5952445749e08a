"""Everything that reads what comes from outside, by name, for the part `fuzz`; good inputs are its corpus."""

from __future__ import annotations

from collections.abc import Mapping

from faults.readers import archives, files, programs
from faults.readers.judged import Reader

READERS: Mapping[str, Reader] = {**archives.READERS, **programs.READERS, **files.READERS}
