"""Preparations, standings and triggers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "preparations",
        sa.Column("archive", sa.Text, primary_key=True),
        _text("generation"),
        _text("prepared_at"),
    )
    op.create_table(
        "standings",
        sa.Column("archive", sa.Text, primary_key=True),
        sa.Column("site", sa.Text, primary_key=True),
        _text("stage1", nullable=True),
        _text("stage1_at", nullable=True),
        _text("stage2", nullable=True),
        _text("stage2_at", nullable=True),
        sa.Column("sent_stage", sa.String(20)),
        _text("sent_generation", nullable=True),
        _text("sent_at", nullable=True),
        _text("tried", nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        _text("failing_since", nullable=True),
        _text("next_try_at", nullable=True),
        sa.Column("exit_code", sa.Integer),
        _text("last_words"),
        sa.Column("reported", sa.Boolean, nullable=False),
    )
    op.create_table(
        "triggers",
        sa.Column("id", sa.Integer, primary_key=True),
        _text("archive"),
        _text("site"),
        sa.Column("stage", sa.String(20), nullable=False),
        _text("generation"),
        _text("sent_at"),
        _text("ended_at", nullable=True),
        sa.Column("exit_code", sa.Integer),
        _text("output"),
        sqlite_autoincrement=True,  # a late answer never meets a trigger that took the number of a pruned one
    )
    op.create_index("triggers_of_archive", "triggers", ["archive", "id"])
    op.create_index("triggers_of_site", "triggers", ["site", "id"])
    op.create_index("triggers_of_both", "triggers", ["archive", "site", "id"])
