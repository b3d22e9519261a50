"""The tables of the drift monitor. Looks and alerts are only ever added; of an alert, what became of its delivery is written down.

monitor_references    what later queries, or the corpus, are compared with
monitor_looks         what each look found, with the state of every signal: the newest one of a series holds
    └── monitor_alerts    alerts raised and cleared, and whether they were delivered
"""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ragtrial.db.base import LONG, Base


class MonitorReferenceRow(Base):
    """A stretch of the live log (ids of its first and last trial), or the passages of a corpus (8 bytes of digest each)."""

    __tablename__ = "monitor_references"
    __table_args__ = (
        UniqueConstraint("experiment", "kind", "name"),
        CheckConstraint("kind IN ('queries', 'corpus')", name="kind"),
        CheckConstraint("(kind = 'queries') = (first_trial IS NOT NULL AND last_trial IS NOT NULL)", name="trials"),
        CheckConstraint("(kind = 'corpus') = (digests IS NOT NULL)", name="digests"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment: Mapped[str]
    kind: Mapped[str]
    name: Mapped[str]
    first_trial: Mapped[int | None] = mapped_column(LONG)
    last_trial: Mapped[int | None] = mapped_column(LONG)
    digests: Mapped[bytes | None]
    at: Mapped[float]


class MonitorLookRow(Base):
    """What a look found; `seen` is a digest of what there was to look at, so that the same data are not looked at twice."""

    __tablename__ = "monitor_looks"
    __table_args__ = (UniqueConstraint("experiment", "series", "number"), Index("ix_monitor_looks_newest", "experiment", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment: Mapped[str]
    series: Mapped[str]
    number: Mapped[int]
    at: Mapped[float]
    seen: Mapped[str]
    document: Mapped[dict[str, Any]]


class MonitorAlertRow(Base):
    """A change of an alert. `claimed_until` keeps a second process from sending what one is sending."""

    __tablename__ = "monitor_alerts"
    __table_args__ = (
        CheckConstraint("change IN ('raised', 'cleared')", name="change"),
        Index("ix_monitor_alerts_waiting", "experiment", "delivered_at", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment: Mapped[str]
    look: Mapped[int] = mapped_column(ForeignKey("monitor_looks.id"))
    number: Mapped[int]
    signal: Mapped[str]
    change: Mapped[str]
    at: Mapped[float]
    sentence: Mapped[str]
    effect: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    attempts: Mapped[int]
    claimed_until: Mapped[float | None]
    delivered_at: Mapped[float | None]
    problem: Mapped[str | None]
