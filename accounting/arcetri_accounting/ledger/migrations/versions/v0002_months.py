"""Months of each allocation; imported records apart from the names of sites and persons."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table, note which months were dropped before there was one, and rename."""
    op.create_table(
        "usage_month",
        sa.Column("allocation_id", _ID, nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("first_quarter", sa.Integer(), nullable=False),
        sa.Column("dur_ms", sa.BigInteger(), nullable=False),
        sa.Column("mem_peak", sa.BigInteger(), nullable=True),
        sa.Column("alloc_u", sa.BigInteger(), nullable=False),
        sa.Column("used_u", sa.BigInteger(), nullable=False),
        sa.Column("util_u", sa.BigInteger(), nullable=False),
        sa.Column("occupied_u", sa.BigInteger(), nullable=False),
        sa.Column("unobserved_u", sa.BigInteger(), nullable=False),
        sa.Column("core_ms", sa.BigInteger(), nullable=False),
        sa.Column("energy_mj", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["allocation_id"], ["usage_allocation.id"]),
        sa.PrimaryKeyConstraint("allocation_id", "month"),
    )
    op.execute(
        "INSERT INTO usage_setting (name, value)"
        " SELECT 'months_kept_from', value FROM usage_setting WHERE name = 'quarters_kept_from'"
    )
    # The own site was known by the name that it had, which may change.
    op.execute(
        "UPDATE usage_imported SET site = '' WHERE site ="
        " (SELECT value FROM usage_setting WHERE name = 'site') AND NOT EXISTS"
        " (SELECT 1 FROM usage_imported AS other"
        " WHERE other.site = '' AND other.external_id = usage_imported.external_id)"
    )
    # Persons' ids and digests of records were made from names.
    connection = op.get_bind()
    person = sa.table("usage_person", sa.column("id"), sa.column("account"), sa.column("erased_at"))
    imported = sa.select(person.c.id).where(person.c.account.startswith("imported:"))
    for id_ in connection.execute(imported).scalars().all():
        account = f"imported:{uuid.uuid4()}"
        connection.execute(sa.update(person).where(person.c.id == id_).values(account=account))
    connection.execute(
        sa.text(
            "UPDATE usage_imported SET sha256 = :erased WHERE allocation_id IN"
            " (SELECT allocation.id FROM usage_allocation AS allocation"
            " JOIN usage_dimensions ON usage_dimensions.id = allocation.dimensions_id"
            " JOIN usage_person ON usage_person.id = usage_dimensions.person_id"
            " WHERE usage_person.erased_at IS NOT NULL)"
        ).bindparams(sa.bindparam("erased", b"", sa.LargeBinary()))
    )
