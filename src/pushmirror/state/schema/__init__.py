"""The tables, and every statement that is said to them, for SQLite and PostgreSQL.

Guaranteed: times are kept as text of one width in UTC, so they sort as they are; every statement names its
archive, its site or its row. Not here: what belongs into one transaction (`state/sql`), how a database
comes to have these tables (`migrate.py`; a test compares the two).

runs.py      requests, runs, generations
push.py      preparations, standings, triggers
columns.py   what columns are made of, and `metadata`, which all tables are in once this package is imported
rows.py      statements that know no table
"""

from __future__ import annotations

from pushmirror.state.schema import push, runs
from pushmirror.state.schema.columns import alembic_version, metadata

__all__ = ["alembic_version", "metadata", "push", "runs"]
