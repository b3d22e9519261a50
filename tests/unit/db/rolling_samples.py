"""Logs written row by row, ids included, and what a plain loop over them sums up to."""

from collections import defaultdict
from typing import Any

from sqlalchemy import Engine, insert, select

from ragtrial.db.board_models import LiveBucketRow
from ragtrial.db.engine import open_engine
from ragtrial.db.live_models import LiveTrialRow, LiveVoteRow
from ragtrial.db.live_rows import trial_row, vote_row
from ragtrial.domain.live_trial import LiveTrial, Vote

STRETCH = 300
SUMS = (
    *("trials", "served", "failed", "abstained", "answered", "timed", "waited_ms", "embed_ms", "search_ms", "generate_ms"),
    *("priced", "cost_usd", "counted_tokens", "prompt_tokens", "completion_tokens", "up", "down", "withdrawn"),
)
Buckets = dict[tuple[int, str, str], dict[str, float]]


class Log:
    """Writes what a recorder would, with ids as they would come from several workers."""

    def __init__(self, url: str, live_id: int) -> None:
        self.engine, self.live_id = open_engine(url), live_id

    def close(self) -> None:
        self.engine.dispose()

    def trial(self, number: int, trial: LiveTrial) -> None:
        self.trials([(number, trial)])

    def trials(self, numbered: list[tuple[int, LiveTrial]]) -> None:
        rows = [{"id": number, **_with_objects(trial_row(self.live_id, trial))} for number, trial in numbered]
        with self.engine.begin() as connection:
            connection.execute(insert(LiveTrialRow), rows)

    def vote(self, trial: int, vote: Vote, *, late: bool = False) -> None:
        row = {**vote_row(vote), "tags": [], "trial": trial, "live_id": self.live_id, "late": late, "team": None}
        with self.engine.begin() as connection:
            connection.execute(insert(LiveVoteRow), row)


def _with_objects(row: dict[str, Any]) -> dict[str, Any]:
    """Columns that a recorder fills with ready JSON, as SQLAlchemy wants them; what is in them does not matter here."""
    return {**row, "hits": None if row["hits"] is None else [], "cited": None if row["cited"] is None else [], "teams": None}


def expected_buckets(engine: Engine, live_id: int) -> Buckets:
    """The oracle: every trial, one by one."""
    with engine.connect() as connection:
        trials = connection.execute(select(LiveTrialRow.__table__).where(LiveTrialRow.live_id == live_id)).mappings().all()
        votes = connection.execute(select(LiveVoteRow.__table__).order_by(LiveVoteRow.id)).mappings().all()
    thumbs = {vote["trial"]: vote["thumb"] for vote in votes if vote["passage_id"] is None and not vote["late"]}
    found: Buckets = defaultdict(lambda: dict.fromkeys(SUMS, 0.0))
    for trial in trials:
        sums = found[int(trial["at"] // STRETCH), trial["arm"], trial["reason"]]
        sums["trials"] += 1
        sums["served"] += trial["served"]
        sums["failed"] += trial["failure_stage"] is not None
        sums["abstained"] += trial["finish_reason"] == "abstained"
        sums["answered"] += trial["finish_reason"] is not None
        if trial["failure_stage"] is None and trial["embed_ms"] is not None:
            sums["timed"] += 1
            for name in ("waited_ms", "embed_ms", "search_ms", "generate_ms"):
                sums[name] += trial[name]
        if trial["cost_usd"] is not None:
            sums["priced"] += 1
            sums["cost_usd"] += trial["cost_usd"]
        if trial["prompt_tokens"] is not None and trial["completion_tokens"] is not None:
            sums["counted_tokens"] += 1
            sums["prompt_tokens"] += trial["prompt_tokens"]
            sums["completion_tokens"] += trial["completion_tokens"]
        if trial["id"] in thumbs:
            sums[thumbs[trial["id"]]] += 1
    return {key: {name: round(value, 6) for name, value in sums.items()} for key, sums in found.items()}


def stored_buckets(engine: Engine, live_id: int) -> Buckets:
    with engine.connect() as connection:
        rows = connection.execute(select(LiveBucketRow.__table__).where(LiveBucketRow.live_id == live_id)).mappings().all()
    return {(row["number"], row["arm"], row["reason"]): {name: round(float(row[name]), 6) for name in SUMS} for row in rows}
