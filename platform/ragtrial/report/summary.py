"""What every page and report says of a finished evaluation, small enough to be kept as one document."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from ragtrial.analysis.anatomy import Anatomy, thinned
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.reader import Reader
from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.planned import Guardrail
from ragtrial.domain.score import ScoreTable
from ragtrial.domain.trial import Trial
from ragtrial.domain.verdict import Analysis, Comparison
from ragtrial.errors import NotEnoughDataError, StoreError
from ragtrial.report import words
from ragtrial.stats.quantiles import Quantiles, latency_quantiles

CONCLUSION_FORM = 2
"""Version of the stored document's form: whoever changes a field of `Summary`, or of what is in it, counts on."""

MOST_TIMINGS = 200
"""Timings of one stage that are kept: more than that no chart can show."""

_N = TypeVar("_N", int, float)

LatencyStage = Literal["embed", "search", "rerank", "generate", "total"]
STAGES: tuple[LatencyStage, ...] = ("embed", "search", "rerank", "generate", "total")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLatency:
    """How long one stage of one arm took for queries asked alone.

    Attributes:
        arm: The arm's name.
        stage: `total` is from the query to the answer. An arm that doesn't rerank has no `rerank`; `search` is without it here.
        quantiles: In milliseconds; None where nothing was timed, and `reason` says why.
        reason: Or None.
        sample_ms: The timings themselves, sorted, thinned to `MOST_TIMINGS`; the shortest and the longest are always there.
    """

    arm: str
    stage: LatencyStage
    quantiles: Quantiles | None
    reason: str | None = None
    sample_ms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmUsage:
    """What the answers of one line consumed in all its trials; None where any answer didn't report it, never 0.

    Attributes:
        arm: The line's name.
        n_trials: Trials.
        n_failed: Those that failed.
        n_answers: Those that have an answer, abstentions included.
        n_abstained: Answers that abstained.
        prompt_tokens: Summed over the answers.
        completion_tokens: Summed over the answers.
        cost_usd: Summed over the answers.
    """

    arm: str
    n_trials: int
    n_failed: int
    n_answers: int
    n_abstained: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Trials of one line that have no value on one metric, for one reason."""

    metric: str
    arm: str
    reason: str
    n: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What every page and report says of an evaluation, without its rows.

    Attributes:
        evaluation: The run.
        experiment: The plan.
        analysis: What was concluded.
        gold_name: The gold set's name.
        n_judgments: Judgments in it.
        generators: Name and version of what made the arms' answers; empty where generation is off.
        latency: Stage by stage, the control first.
        usage: Of every line.
        failures: Failed trials of each line, counted by `stage: kind`; a line without any has an empty mapping.
        exclusions: Everything that has no value, counted by reason.
        anatomy: Where the difference comes from.
    """

    evaluation: Evaluation
    experiment: Experiment
    analysis: Analysis
    gold_name: str
    n_judgments: int
    generators: tuple[str, ...]
    latency: tuple[StageLatency, ...]
    usage: tuple[ArmUsage, ...]
    failures: Mapping[str, Mapping[str, int]]
    exclusions: tuple[Exclusion, ...]
    anatomy: Anatomy

    @property
    def control(self) -> str:
        """The control arm's name."""
        return self.experiment.control.name

    @property
    def treatment(self) -> str:
        """The treatment arm's name."""
        return self.experiment.treatment.name

    @property
    def primary(self) -> Comparison:
        """The comparison that decides."""
        return self.analysis.primary

    @property
    def references(self) -> tuple[str, ...]:
        """Names of the reference lines."""
        return tuple(arm.arm for arm in self.evaluation.arms if arm.role == "reference")

    @property
    def level(self) -> str:
        """What intervals cover, e.g. `95%`."""
        return f"{100 * (1 - self.experiment.analysis.alpha):.4g}%"

    @property
    def guardrails(self) -> tuple[tuple[Guardrail, Comparison], ...]:
        """Every planned guardrail with its comparison."""
        by_name = {comparison.metric.name: comparison for comparison in self.analysis.comparisons}
        return tuple((planned, by_name[planned.name]) for planned in self.experiment.metrics.guardrails if planned.name in by_name)

    @property
    def headline(self) -> Comparison | None:
        """The comparison on the answer metric that suits the references; None where there is none."""
        name = self.analysis.headline_answer_metric
        return next((comparison for comparison in self.analysis.comparisons if comparison.metric.name == name), None)

    @property
    def extractive(self) -> bool:
        """Whether the answers are sentences picked from passages, without an LLM."""
        return any(generator.startswith("extractive") for generator in self.generators)

    def facts(self, arm: str) -> ArmFacts | None:
        """What the arm was made of; None where nothing was recorded."""
        return next((facts for facts in self.evaluation.arms if facts.arm == arm), None)

    def label(self, arm: str) -> str:
        """The arm's name, with its role where the name doesn't say it."""
        return words.with_role(arm, {self.control: "baseline", self.treatment: "custom"}.get(arm))

    def latency_of(self, arm: str, stage: LatencyStage) -> StageLatency:
        """One row of `latency`."""
        return next(row for row in self.latency if row.arm == arm and row.stage == stage)


def summarise(
    *,
    evaluation: Evaluation,
    experiment: Experiment,
    analysis: Analysis,
    gold: GoldSet,
    tables: Mapping[str, ScoreTable],
    trials: Sequence[Trial],
) -> Summary:
    """Gather what every page and report says.

    Args:
        evaluation: The run.
        experiment: The plan.
        analysis: What was concluded.
        gold: With judgments on passages.
        tables: Scores by metric, rows ordered as `trials`.
        trials: Of all lines.
    """
    from ragtrial.analysis.dissecting import anatomy_of  # statistics take half a second to import, and who only reads needs none

    arms = (experiment.control.name, experiment.treatment.name)
    lines = tuple(dict.fromkeys([*arms, *(facts.arm for facts in evaluation.arms)]))
    by_line: dict[str, list[Trial]] = {line: [] for line in lines}
    for trial in trials:
        if trial.arm in by_line:
            by_line[trial.arm].append(trial)
    return Summary(
        evaluation=evaluation,
        experiment=experiment,
        analysis=analysis,
        gold_name=gold.name,
        n_judgments=len(gold.judgments),
        generators=tuple(sorted({trial.answer.generator for arm in arms for trial in by_line[arm] if trial.answer is not None})),
        latency=tuple(row for arm in arms for row in _latency(arm, by_line[arm])),
        usage=tuple(_usage(line, by_line[line]) for line in lines),
        failures={line: _failures(by_line[line]) for line in lines},
        exclusions=tuple(_exclusions(analysis, tables, lines)),
        anatomy=anatomy_of(evaluation=evaluation, experiment=experiment, analysis=analysis, gold=gold, tables=tables, trials=trials),
    )


def as_document(content: Summary) -> dict[str, Any]:
    """All of it but the run and the plan, which are in the log, as JSON; `read_summary` makes the same of it again."""
    document: dict[str, Any] = _adapter().dump_python(content, mode="json", exclude={"evaluation", "experiment"})
    return document


def read_summary(reader: Reader, board: BoardReader, evaluation_id: str) -> Summary | None:
    """What was concluded of an evaluation under its own plan; None where it is not concluded yet, or in another form.

    Raises:
        InputError: There is no such evaluation.
        StoreError: The document is not of the form that it says, or the database fails.
    """
    evaluation = reader.evaluation(evaluation_id)
    stored = board.conclusion(evaluation_id)
    if stored is None or stored.form != CONCLUSION_FORM:
        return None
    log = {"evaluation": evaluation, "experiment": reader.experiment_plan(evaluation_id)}
    try:
        return _adapter().validate_python({**stored.document, **log})
    except ValidationError as error:
        what = f"the stored conclusion of evaluation {evaluation_id!r} can't be read ({error.error_count()} faults)"
        raise StoreError(f"{what}: make it again with ragtrial analyse") from error


@functools.cache
def _adapter() -> TypeAdapter[Summary]:
    """Compiling the dataclasses takes pydantic some tenths of a second: once per process."""
    return TypeAdapter(Summary)


def _latency(arm: str, trials: Sequence[Trial]) -> list[StageLatency]:
    timings = [trial.timings for trial in trials if trial.timings is not None]
    values = {
        "embed": [t.embed_ms for t in timings],
        "search": [t.search_ms - (t.rerank_ms or 0.0) for t in timings],
        "rerank": [t.rerank_ms for t in timings if t.rerank_ms is not None],
        "generate": [t.generate_ms for t in timings],
        "total": [t.latency_ms for t in timings],
    }
    rows = []
    for stage in STAGES:
        if stage == "rerank" and not values[stage]:
            continue
        try:
            sample = tuple(thinned(sorted(values[stage]), MOST_TIMINGS))
            rows.append(StageLatency(arm=arm, stage=stage, quantiles=latency_quantiles(values[stage]), sample_ms=sample))
        except NotEnoughDataError as error:
            rows.append(StageLatency(arm=arm, stage=stage, quantiles=None, reason=str(error)))
    return rows


def _usage(line: str, trials: Sequence[Trial]) -> ArmUsage:
    answers = [trial.answer for trial in trials if trial.answer is not None]
    prompts = [answer.usage.prompt_tokens for answer in answers]
    completions = [answer.usage.completion_tokens for answer in answers]
    costs = [answer.usage.cost_usd for answer in answers]
    return ArmUsage(
        arm=line,
        n_trials=len(trials),
        n_failed=sum(trial.failure is not None for trial in trials),
        n_answers=len(answers),
        n_abstained=sum(answer.finish_reason == "abstained" for answer in answers),
        prompt_tokens=_sum(prompts),
        completion_tokens=_sum(completions),
        cost_usd=_sum(costs),
    )


def _sum(values: Sequence[_N | None]) -> _N | None:
    """The sum where every value is known; a sum of some would look like the whole."""
    known = [value for value in values if value is not None]
    return sum(known[1:], start=known[0]) if known and len(known) == len(values) else None


def _failures(trials: Sequence[Trial]) -> dict[str, int]:
    counts = Counter(f"{trial.failure.stage}: {trial.failure.kind}" for trial in trials if trial.failure is not None)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _exclusions(analysis: Analysis, tables: Mapping[str, ScoreTable], lines: Sequence[str]) -> list[Exclusion]:
    found = []
    for comparison in analysis.comparisons:
        name = comparison.metric.name
        for line in lines:
            reasons = tables[name].reasons(line)
            found += [Exclusion(metric=name, arm=line, reason=reason, n=n) for reason, n in sorted(reasons.items())]
    return found
