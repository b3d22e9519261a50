"""A live log whose users change their minds: trials written as a service would, one batch after the other."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import insert

from material import TOPICS, WORDS, write_beir_folder, write_experiment
from ragtrial.db.engine import open_engine
from ragtrial.db.live_models import LiveTrialRow, LiveVoteRow
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.live_rows import trial_row
from ragtrial.domain.live_trial import StoredQuery
from ragtrial.domain.monitor import MonitorReport, Signal
from ragtrial.domain.trial import Answer, Hit, Ranking, Timings, Trial
from ragtrial.formats.experiment import load_experiment, sql_url
from unit.db.live_samples import START, failed, live_trial

LIVE = {"metrics": {"primary": {"name": "copied", "min_effect": 0.02}}}
MONITOR: dict[str, Any] = {"window": 200, "reference_queries": 200, "fewest": 100}
NEW_WORDS = ("tensor", "logit", "batch", "epoch", "token", "matrix", "layer", "adam", "loss", "prune")


@dataclass
class Watched:
    """An experiment that is served and watched.

    Attributes:
        path: The experiment file.
    """

    path: Path
    chance: Random = field(default_factory=lambda: Random(5))
    logged: int = 0

    @property
    def url(self) -> str:
        return sql_url(load_experiment(self.path))

    @property
    def name(self) -> str:
        return load_experiment(self.path).experiment.name

    def serve(
        self, n: int, *, words: Sequence[str] = WORDS, users: int = 400, abstain: float = 0.1, fail: float = 0.02, **more: Any
    ) -> None:
        """So many queries are asked and logged."""
        with LiveRecorder(self.url, load_experiment(self.path).experiment, facts={}) as recorder:
            live_id = recorder.live_id
        rows = [self._row(live_id, words, users, abstain, fail, **more) for _ in range(n)]
        engine = open_engine(self.url)
        with engine.begin() as connection:
            connection.execute(insert(LiveTrialRow), rows)
        engine.dispose()

    def vote(self, first: int, last: int, *, up: float) -> None:
        """Everyone votes on the trials from the first id to the last."""
        rows = [
            {"live_id": 1, "trial": number, "key": f"v{number}", "thumb": "up" if self.chance.random() < up else "down", "passage_id": None}
            | {"team": None, "late": False, "at": START, "tags": [], "comment": ""}
            for number in range(first, last + 1)
        ]
        engine = open_engine(self.url)
        with engine.begin() as connection:
            connection.execute(insert(LiveVoteRow), rows)
        engine.dispose()

    def _row(self, live_id: int, words: Sequence[str], users: int, abstain: float, fail: float, **more: Any) -> dict[str, Any]:
        self.logged += 1
        number, chance = self.logged, self.chance
        user = chance.randrange(users)
        text = " ".join([chance.choice(TOPICS), *chance.choices(words, k=chance.randint(4, 8))])
        stored: Any = more.get("stored", "full")
        query = StoredQuery(text=None if stored == "hash" else text, digest=sha256(text.encode()).hexdigest()[:32], stored=stored)
        arm = ("baseline", "custom")[user % 2]
        given = live_trial(f"t{number}", f"u{user}", arm, made=self._made(arm, query.digest, abstain, fail, chance), at=START + 60 * number)
        row = trial_row(live_id, given)
        row |= {"query_text": query.text, "query_stored": query.stored, "query_digest": query.digest, "reason": more.get("reason", "split")}
        return {**row, **{name: None if row[name] is None else json.loads(row[name]) for name in ("hits", "cited", "teams")}}

    def _made(self, arm: str, digest: str, abstain: float, fail: float, chance: Random) -> Trial:
        if chance.random() < fail:
            return failed(arm)
        said = chance.random() >= abstain
        hits = (Hit(passage_id="p1", similarity=chance.gauss(0.7, 0.1)),)
        answer = Answer(text="yes" if said else "", finish_reason="stop" if said else "abstained", generator="extractive/1", made_at=START)
        return Trial(
            arm=arm,
            query_id=digest,
            ranking=Ranking(query_id=digest, hits=hits),
            answer=answer,
            timings=Timings(embed_ms=1.0, search_ms=1.0, generate_ms=1.0),
        )


def watched(folder: Path, **monitor: Any) -> Watched:
    """A small experiment with both sections; `monitor` replaces keys of the latter."""
    data = write_beir_folder(folder / "data", n_passages=150, n_queries=120)
    return Watched(write_experiment(folder / "e.yaml", data, live=LIVE, monitor={**MONITOR, **monitor}))


def of(report: MonitorReport) -> dict[str, Signal]:
    """Its signals by name."""
    return {signal.name: signal for signal in report.signals}


def write_queries(path: Path, log: Watched, n: int, words: tuple[str, ...] | list[str], *, begin: int = 0) -> None:
    """Queries of 90 users behind those that the file holds, one a second."""
    with path.open("a") as file:
        for number in range(begin, begin + n):
            query = {"text": " ".join(log.chance.choices(words, k=6)), "at": 1_800_000_000 + number, "user": f"u{number % 90}"}
            file.write(json.dumps(query) + "\n")
