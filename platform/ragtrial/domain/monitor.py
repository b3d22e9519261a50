"""What is watched after a model went live: the plan (the `monitor` section of the experiment file), and what a look found.

The field descriptions are the reference of that section.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.described import STRICT, described
from ragtrial.domain.fingerprint import digest

SignalKind = Literal[
    "query_embedding",
    "document_embedding",
    "new_terms",
    "query_length",
    "in_gold",
    "similarity",
    "abstained",
    "unanswered",
    "thumbs_up",
    "score",
]
"""What can drift. The first five are of queries and documents, whoever answers; the others are of each arm's answers."""

SIGNALS: tuple[SignalKind, ...] = SignalKind.__args__  # type: ignore[attr-defined]  # typing.get_args loses the type

State = Literal["calm", "rising", "raised", "too few"]
Change = Literal["raised", "cleared"]

FIRST, GOLD = "first", "gold"
"""References that have no name of their own: the first queries that came, and those of the gold set."""

CORPUS_ALONE = "the corpus alone"
"""The source of a look that found no queries."""


def asked_for(*, source: str = "live", reference: str | None = None, since: float | None = None, documents: str = "") -> str:
    """What looks have in common that were asked for alike, whatever the plan and the model were at the time.

    Args:
        source: `live`, or the path of a file of queries.
        reference: Another one than the plan's; None: that.
        since: What is left out before it.
        documents: The folder of new documents; empty: the corpus's own.
    """
    return digest([source, reference, since, documents], length=16)


PLANNED = asked_for()
"""Looks as the plan has them: nothing was asked for beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSpec:
    """What `ragtrial monitor` compares, and when it raises an alert."""

    __pydantic_config__ = STRICT

    every_minutes: float = described("`ragtrial serve` looks so often by itself.", default=60.0)
    window: int = described("The newest queries that are compared with the reference.", default=500)
    window_days: float | None = described(
        "Compare the queries of the last days instead, however many they are; null: `window`.", default=None
    )
    reference: str = described(
        "first: the first queries that came. gold: those of the gold set (for what queries say; answers are compared with the first ones). "
        "Or a name that `ragtrial monitor --keep-reference NAME` gave to a window, e.g. after a new model was promoted.",
        default=FIRST,
    )
    reference_queries: int = described("reference first: how many.", default=500)
    fewest: int = described("Queries that reference and window need at least; with fewer a signal says so, and never alarms.", default=100)
    raise_above: float = described(
        "An alert is raised where the effect's whole interval lies beyond this, in standard deviations, on `raise_looks` looks in a row.",
        default=0.2,
    )
    clear_below: float = described("It is cleared where the effect lies below this on `clear_looks` looks in a row.", default=0.1)
    embedding_raise_above: float = described(
        "The same for embeddings, whose distance is on a smaller scale: of MiniLM, 0.4 is another subject altogether, and 0.1 what a quarter "
        "of such queries makes.",
        default=0.1,
    )
    embedding_clear_below: float = described("The same for embeddings.", default=0.05)
    raise_looks: int = described("Looks in a row that raise an alert.", default=2)
    clear_looks: int = described("Looks in a row that clear it.", default=3)
    alpha: float = described("Chance of any false alarm, of all signals and all looks together, however many there will be.", default=0.05)
    signals: tuple[str, ...] = described(f"What is watched; empty: all of {', '.join(SIGNALS)}.", default=())
    sample: int = described("Queries of a window, and passages, that are embedded at most.", default=1000)
    webhook: str | None = described(
        "Where a change of an alert is sent (HTTP POST, JSON): a URL, or env:NAME for the URL in this environment variable.", default=None
    )
    webhook_secret_env: str = described(
        "The environment variable with the secret that messages are signed with (X-Ragtrial-Signature); unset: they are not.",
        default="RAGTRIAL_WEBHOOK_SECRET",
    )
    seed: int = described("Seed of samples and permutations.", default=7)

    def __post_init__(self) -> None:
        self._check_counts()
        if not self.every_minutes > 0:
            raise ValueError(f"monitor.every_minutes is {self.every_minutes}: give more than 0")
        if self.window_days is not None and not self.window_days > 0:
            raise ValueError(f"monitor.window_days is {self.window_days}: give more than 0, or null")
        for prefix in ("", "embedding_"):
            above, below = getattr(self, f"{prefix}raise_above"), getattr(self, f"{prefix}clear_below")
            if not 0 < below < above:
                raise ValueError(
                    f"monitor.{prefix}raise_above is {above} and {prefix}clear_below is {below}: an alert is cleared below a lower level "
                    "than it is raised at, so that it does not flicker; give the lower one a number above 0 and below the upper one"
                )
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"monitor.alpha is {self.alpha}: give a number between 0 and 0.5")
        if not self.reference.strip():
            raise ValueError("monitor.reference is empty: give first, gold, or the name of a kept one")
        unknown = [name for name in self.signals if name not in SIGNALS]
        if unknown:
            raise ValueError(f"monitor.signals names {unknown[0]!r}: there are {', '.join(SIGNALS)}")
        if self.webhook is not None and not self.webhook.startswith(("http://", "https://", "env:")):
            raise ValueError("monitor.webhook must begin with http://, https:// or env: (an environment variable that holds the URL)")

    def _check_counts(self) -> None:
        for name, least in (("fewest", 50), ("raise_looks", 1), ("clear_looks", 1), ("sample", 50), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"monitor.{name} is {getattr(self, name)}: give at least {least}")
        for name in ("reference_queries", "sample") + (("window",) if self.window_days is None else ()):
            if getattr(self, name) < self.fewest:
                raise ValueError(f"monitor.{name} is {getattr(self, name)} and monitor.fewest {self.fewest}: nothing could ever be judged")

    def levels_of(self, kind: SignalKind) -> tuple[float, float]:
        """The level above which its alert is raised, and the one below which it is cleared."""
        if kind in ("query_embedding", "document_embedding"):
            return self.embedding_raise_above, self.embedding_clear_below
        return self.raise_above, self.clear_below

    def watches(self, kind: SignalKind) -> bool:
        """Whether this signal is watched."""
        return not self.signals or kind in self.signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One signal at one look.

    Attributes:
        kind: What is measured.
        arm: Whose answers; None of what does not depend on an arm.
        metric: Of `score`: which one.
        state: `raised`: its alert stands, whether or not this look has an effect; `rising`: it lies beyond the upper level, but not yet on as
            many looks as raise an alert; `too few`: no alert stands, and there is no effect.
        effect: How far it is from the reference, in standard deviations: Hedges' g, of shares Cohen's h, of embeddings the distance of
            the kernel means (never taken as below 0 by an alert). None where it can't be told.
        low: Lower end of its interval; those of all signals hold at all looks together.
        high: Upper end.
        n: Values in the window: queries, trials, votes, passages; words, of `new_terms` that has an effect.
        n_reference: Values in the reference.
        mean: In the window; None where n is 0, and for embeddings.
        reference_mean: Likewise, in the reference.
        centroid_cosine: Of embeddings: of the two means; it depends on n, so it is shown and decides nothing.
        p_value: Of embeddings: by permutation, of this look alone; shown, and decides nothing.
        reason: Why there is no effect; why an alert was raised or cleared at this look; None where there is nothing to say.
        above: Looks in a row at which it lay beyond the upper level.
        below: Looks in a row at which it lay below the lower one.
        since: When its alert was raised, seconds since 1970; None where none stands.
    """

    kind: SignalKind
    arm: str | None = None
    metric: str | None = None
    state: State = "calm"
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int
    n_reference: int
    mean: float | None = None
    reference_mean: float | None = None
    centroid_cosine: float | None = None
    p_value: float | None = None
    reason: str | None = None
    above: int = 0
    below: int = 0
    since: float | None = None

    def __post_init__(self) -> None:
        values = (self.effect, self.low, self.high)
        if len({value is None for value in values}) > 1:
            raise ValueError("an effect has both ends of its interval, or there is none of the three")
        if self.effect is None and self.reason is None:
            raise ValueError(f"{self.name} has neither an effect nor a reason")

    @property
    def name(self) -> str:
        """What it is called: the kind, the metric of a score, the arm."""
        return " of ".join(part for part in (self.kind if self.metric is None else self.metric, self.arm) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A change of an alert: what is sent, once.

    Attributes:
        alert_id: Unique in the database; a receiver that has seen it may drop a repetition.
        experiment: Its name.
        signal: Name of the signal.
        change: What happened.
        at: Seconds since 1970.
        look: Number of the look.
        sentence: For people.
        effect: At that look.
        low: Lower end of its interval.
        high: Upper end.
        delivered_at: When a receiver said 2xx; None: not yet, or there is no webhook.
        attempts: Tries so far.
        problem: Why the last one failed.
    """

    alert_id: int | None = None
    experiment: str
    signal: str
    change: Change
    at: float
    look: int
    sentence: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    delivered_at: float | None = None
    attempts: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorReport:
    """What one look found.

    Attributes:
        experiment: Its name.
        series: What the looks are of: source, reference, model; alerts and the error rate are counted within a series.
        source: Where the queries came from, for people.
        reference: What they were compared with, for people.
        look: Its number in the series, from 1; 0 before the first look that could tell anything.
        at: Seconds since 1970.
        fresh: False: nothing is new since the last look, which is shown again and not counted.
        signals: Every signal that is watched.
        changes: Alerts raised or cleared by this look.
        left_out: What was not looked at, by reason: queries kept as a hash only, texts beyond the sample, ...
        undelivered: Messages of the last day that a webhook has not taken yet; 0 without a webhook.
        asked: What was asked for, whatever plan and model are: of the series with the same, only the newest is measured still. Empty in
            looks of a version that didn't keep it.
        note: What a reader has to know to go on; None where there is nothing.
        earlier: Alerts that stand of looks under an earlier plan, arm or model, asked for alike: what they are of was not measured since.
    """

    experiment: str
    series: str
    source: str
    reference: str
    look: int
    at: float
    fresh: bool = True
    signals: tuple[Signal, ...] = ()
    changes: tuple[Alert, ...] = ()
    left_out: Mapping[str, int]
    undelivered: int = 0
    asked: str = ""
    note: str | None = None
    earlier: tuple[Alert, ...] = ()

    @property
    def raised(self) -> tuple[Signal, ...]:
        """Those whose alert stands."""
        return tuple(signal for signal in self.signals if signal.state == "raised")
