"""Requests, runs and generations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "runs",
        _id(),
        _text("archive"),
        sa.Column("stage", sa.String(20), nullable=False),
        _text("strategy"),
        _text("trigger_name"),  # "trigger" is a word of SQL
        _text("started_at"),
        _text("ended_at", nullable=True),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("exit_code", sa.Integer),
        _text("generation", nullable=True),
        _text("message"),
        sa.Column("stats", sa.JSON, nullable=False),
        _text("log"),
        sqlite_autoincrement=True,  # the number of a pruned run is never given to another
    )
    op.create_index("runs_of_archive", "runs", ["archive", "id"])
    op.create_table(
        "requests",
        _id(),
        _text("archive"),
        sa.Column("stage", sa.String(20), nullable=False),
        sa.Column("mhop", sa.Boolean, nullable=False),
        _text("trigger_name"),
        _text("client"),
        _text("words"),
        _text("generation", nullable=True),
        _text("arrived_at"),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.id")),
        sa.Column("exit_code", sa.Integer),
        _text("message"),
        sqlite_autoincrement=True,
    )
    op.create_index("requests_of_run", "requests", ["run_id"])
    op.create_index("requests_of_archive", "requests", ["archive", "run_id"])
    op.create_table(
        "generations",
        _id(),
        _text("archive"),
        _text("digest"),
        _text("published_at"),
        _text("replaced_at", nullable=True),
        sa.Column("run_id", sa.Integer),  # no foreign key: a generation outlives its pruned run
        sqlite_autoincrement=True,
    )
    op.create_index("generations_of_archive", "generations", ["archive", "id"])
