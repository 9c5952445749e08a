"""Why a run took its strategy."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # A default, for the rows that are there; the comparison with the schema takes no notice of it.
    op.add_column("runs", sa.Column("why", sa.Text, nullable=False, server_default=""))
