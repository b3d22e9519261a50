"""What the arms cost, in words and rows: waiting, tokens and money, the index, and what the gain is for a dollar."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ragtrial.domain.evaluation import ArmFacts
from ragtrial.domain.experiment import Experiment
from ragtrial.index.codes import vector_bytes
from ragtrial.report import live_words, words
from ragtrial.report.live_summary import LiveSummary, LiveUsage
from ragtrial.report.summary import STAGES, ArmUsage, StageLatency, Summary
from ragtrial.report.verdict_words import PER, cost_of

STAGE_NAMES = {
    "embed": "embed the query",
    "search": "search the index",
    "rerank": "rerank the passages",
    "generate": "make the answer",
    "total": "all together",
}
NO_FEE = "Answers are sentences picked from passages: no LLM, no fee"
_STORED: tuple[tuple[str, Callable[[int], int]], ...] = (
    ("float32", partial(vector_bytes, "fp32")),
    ("int8", partial(vector_bytes, "int8")),
    ("binary", partial(vector_bytes, "binary")),
)
_HALVED: tuple[tuple[str, Callable[[int], int]], ...] = (("int8, half the dimensions", lambda dimension: dimension // 2),)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSize:
    """What an index's vectors take in one form: arithmetic, not a measurement."""

    form: str
    bytes: int


UNKNOWN_SPEED = "It is not shown which arm is faster"


def speed(content: Summary) -> str:
    """Whether custom is slower, beyond what chance does."""
    found = next((each for each in content.analysis.comparisons if each.metric.name == "latency_ms"), None)
    if found is None or found.effect is None:
        return UNKNOWN_SPEED
    better, change = words.beyond_chance(found, alpha=content.experiment.analysis.alpha), words.difference(found.effect, found.metric)
    return _speed(better, content.label(content.treatment), f"{change} a query on average (n = {found.n_scored:,})")


def live_speed(content: LiveSummary) -> str:
    """The same of a live experiment so far, by the interval that counts."""
    found = next((each for each in content.analysis.comparisons if each.metric.name == "latency_ms"), None)
    interval = None if found is None else found.interval
    if found is None or interval is None:
        return UNKNOWN_SPEED
    change = f"{words.difference(interval, found.metric)} a query on average (n = {words.count(interval.n_units, 'unit')})"
    return _speed(live_words.beyond_chance(found), content.label(content.treatment), change)


def _speed(better: int, who: str, change: str) -> str:
    if not better:
        return "Neither arm is shown to be faster"
    return f"{words.capital(who)} is {'faster' if better > 0 else 'slower'}: {change}"


def latency_lead(rows: Sequence[StageLatency], arms: tuple[str, str]) -> str:
    """Median and p95 of both arms, as far as they were measured."""
    said = []
    for arm in arms:
        found = next((row for row in rows if row.arm == arm and row.stage == "total"), None)
        if found is None or found.quantiles is None:
            said.append(f"{arm}: {'nothing was timed' if found is None or found.reason is None else found.reason}")
        else:
            half, most = words.milliseconds(found.quantiles.p50), words.milliseconds(found.quantiles.p95)
            said.append(f"{arm}: half are answered within {half}, 95% within {most} (n = {found.quantiles.n:,})")
    return f"{'; '.join(said)}."


def answered_by(rows: Sequence[StageLatency], arms: tuple[str, str], asked: str) -> str:
    """Within what time nearly everything is answered, as a finding; at least one arm was timed."""
    p95 = {row.arm: row.quantiles.p95 for row in rows if row.stage == "total" and row.quantiles is not None}
    said = ", ".join(f"{words.milliseconds(p95[arm])} with {arm}" for arm in arms if arm in p95)
    return f"95% of {asked} are answered within {said}"


def timed(rows: Sequence[StageLatency], arms: tuple[str, str], asked: str) -> str:
    """How many timings of each arm there are, e.g. `n = 200 queries asked alone in each arm`.

    Args:
        rows: Of any stages; an arm counts with the one that was timed most often.
        arms: Control and treatment.
        asked: What the timings are of.
    """
    n = {arm: max((row.quantiles.n for row in rows if row.arm == arm and row.quantiles is not None), default=0) for arm in arms}
    if len(set(n.values())) == 1:
        return f"n = {n[arms[0]]:,} {asked} in each arm"
    return f"n = {n[arms[0]]:,} {asked} of {arms[0]}, {n[arms[1]]:,} of {arms[1]}"


def slowest_stage(rows: Sequence[StageLatency], arm: str) -> str | None:
    """Which stage takes most of an arm's median, or that most of it is spent outside the stages; None where none was timed."""
    timed = {row.stage: row.quantiles.p50 for row in rows if row.arm == arm and row.quantiles is not None}
    total = timed.pop("total", 0.0)
    stages = sum(timed.values())
    if not stages:
        return None
    if total - stages > max(timed.values()):
        said = f"Of {words.milliseconds(total)} at the median, {arm}'s stages take about {words.milliseconds(stages)}"
        return f"{said}: most is waiting for a turn, and what lies between the stages"
    stage = max(timed, key=timed.__getitem__)
    doing = {
        "embed": "Embedding the query",
        "search": "Searching the index",
        "rerank": "Reranking the passages",
        "generate": "Making the answer",
    }[stage]
    return f"{doing} takes {timed[stage] / sum(timed.values()):.0%} of what {arm}'s stages take at their medians"


def latency_rows(rows: Sequence[StageLatency]) -> list[dict[str, Any]]:
    """Stage by stage, for a table; None where nothing was timed."""
    found = sorted(rows, key=lambda row: STAGES.index(row.stage))
    return [
        {
            "stage": STAGE_NAMES[row.stage],
            "arm": row.arm,
            "n": 0 if row.quantiles is None else row.quantiles.n,
            **{
                name: None if row.quantiles is None else getattr(row.quantiles, name.partition(" ")[0])
                for name in ("p50 ms", "p95 ms", "p99 ms")
            },
            "why not": row.reason or "",
        }
        for row in found
    ]


def rerank_fee(experiment: Experiment, arm: str) -> float | None:
    """USD for reranking `PER` queries, as the experiment declares it; None where it says nothing, 0 where nothing is reranked."""
    spec = next(experiment.retrieval_of(each).rerank for each in experiment.arms if each.name == arm)
    if spec is None or not spec.is_remote:
        return 0.0
    return None if spec.usd_per_1000_queries is None else spec.usd_per_1000_queries * PER / 1_000


def money_finding(content: Summary) -> str:
    """What answers cost, and what reranking does, as a finding."""
    fees = [(arm, rerank_fee(content.experiment, arm)) for arm in (content.control, content.treatment)]
    said = [
        f"reranking {PER:,} queries with {arm} costs {'an unknown fee' if fee is None else f'{fee:,.2f} USD, as declared'}"
        for arm, fee in fees
        if fee != 0
    ]
    return "; ".join([_answers_cost(content), *said])


def _answers_cost(content: Summary) -> str:
    if not content.generators:
        return "Answers were not made, so they cost nothing"
    if content.extractive:
        return NO_FEE
    left, right = (cost_of(content.usage, arm) for arm in (content.control, content.treatment))
    if left is None or right is None:
        return "What the answers cost was not reported"
    more = "as much as" if abs(right - left) < 0.005 else f"{abs(right - left):,.2f} USD {'more' if right > left else 'less'} than"
    return f"{PER:,} answers with {content.treatment} cost {right:,.2f} USD, {more} with {content.control}"


def gain_for_a_dollar(content: Summary) -> str:
    """What quality custom adds for the money that it adds; in words where there is no such ratio."""
    effect, metric = content.primary.effect, content.primary.metric
    if effect is None:
        return f"The gain in {metric.name} is not known, so it has no price."
    fees = [rerank_fee(content.experiment, arm) for arm in (content.control, content.treatment)]
    if None in fees:
        return f"What reranking costs was not declared (rerank.usd_per_1000_queries), so the gain in {metric.name} has no price in dollars."
    answers = [0.0 if content.extractive or not content.generators else cost_of(content.usage, arm) for arm in _arms_of(content)]
    left, right = (None if cost is None else cost + (fee or 0.0) for cost, fee in zip(answers, fees, strict=True))
    if (content.extractive or not content.generators) and not any(fees):
        return f"The gain in {metric.name} costs no fee: only the time and the room that stand below."
    if left is None or right is None:
        return f"The cost of the answers was not reported, so the gain in {metric.name} has no price in dollars."
    if right <= left:
        return f"Custom's answers cost no more than the baseline's, so the gain in {metric.name} has no price."
    per = [value / (right - left) for value in (effect.estimate, effect.low, effect.high)]
    return (
        f"For each dollar more on {PER:,} queries, {metric.name} moves by {per[0]:+.4g} [{per[1]:+.4g}, {per[2]:+.4g}] "
        f"({content.level} interval of the gain; the cost is a sum)."
    )


def _arms_of(content: Summary) -> tuple[str, str]:
    return content.control, content.treatment


def usage_rows(usage: Sequence[ArmUsage]) -> list[dict[str, Any]]:
    """Tokens and money by line, for a table; None where it was not reported."""
    return [
        {
            "line": each.arm,
            "trials": each.n_trials,
            "failed": each.n_failed,
            "answers": each.n_answers,
            "abstained": each.n_abstained,
            "prompt tokens": each.prompt_tokens,
            "completion tokens": each.completion_tokens,
            "USD": each.cost_usd,
            f"USD for {PER:,} answers": cost_of(usage, each.arm),
        }
        for each in usage
    ]


def live_usage_rows(usage: Sequence[LiveUsage]) -> list[dict[str, Any]]:
    """The same of live trials; sums are over those that reported it, and how many these are stands beside them."""
    return [
        {
            "arm": each.arm,
            "trials": each.n_trials,
            "failed": each.n_failed,
            "answers": each.n_answers,
            "abstained": each.n_abstained,
            "with tokens": each.n_counted,
            "prompt tokens": each.prompt_tokens,
            "completion tokens": each.completion_tokens,
            "with a price": each.n_priced,
            "USD": each.cost_usd,
            f"USD for {PER:,} answers": None if each.cost_usd is None or not each.n_priced else PER * each.cost_usd / each.n_priced,
        }
        for each in usage
    ]


def live_money_finding(content: LiveSummary) -> str:
    """What all live answers cost so far, as a finding."""
    if content.without_fee:
        return NO_FEE
    usage = content.spent
    priced = [each for each in usage if each.cost_usd is not None and each.n_priced]
    if not priced:
        return "What the answers cost was not reported"
    spent = sum(each.cost_usd or 0.0 for each in priced)
    n = sum(each.n_priced for each in priced)
    unknown = sum(each.n_answers for each in usage) - n
    more = f"; of {unknown:,} more the cost is not known" if unknown > 0 else ""
    return f"{n:,} answers have cost {spent:,.2f} USD so far{more}"


def index_rows(arms: Sequence[ArmFacts]) -> list[dict[str, Any]]:
    """Each arm's index, for a table; None where it was not measured."""
    return [
        {
            "arm": facts.arm,
            "model": "" if facts.model is None else facts.model.name,
            "dimensions": None if facts.model is None else facts.model.dimension,
            "index": facts.index.index_type,
            "passages": facts.index.n_passages,
            "vectors": words.size(facts.index.bytes),
            "embedding took s": facts.index.embed_seconds,
            "tokens embedded": facts.index.tokens,
            "recall against exact search": facts.index.ann_recall,
        }
        for facts in arms
        if facts.index is not None
    ]


def build_finding(left: ArmFacts | None, right: ArmFacts | None) -> str:
    """How long building took, as far as it was measured."""
    took = [(facts.arm, facts.index.embed_seconds) for facts in (left, right) if facts is not None and facts.index is not None]
    known = [f"{arm} {seconds:,.3g} s" for arm, seconds in took if seconds is not None]
    cached = [arm for arm, seconds in took if seconds is None]
    if not took:
        return "Nothing is known of the indexes."
    said = f"Embedding the passages took: {', '.join(known)}." if known else "The passages' vectors came from the cache."
    return f"{said} {' and '.join(cached)} took its vectors from the cache." if known and cached else said


def other_forms(facts: ArmFacts) -> tuple[IndexSize, ...]:
    """What an arm's vectors take, and what they would take in other forms; empty for an arm that has none (BM25 alone).

    What another form does to quality has to be measured.
    """
    index, dimension = facts.index, 0 if facts.model is None else facts.model.dimension
    if index is None or not dimension or not index.n_passages:
        return ()
    stored = next((name for name, each in _STORED if index.n_passages * each(dimension) == index.bytes), None)
    now = IndexSize(form="as it is" if stored is None else f"as it is ({stored})", bytes=index.bytes)
    forms = (*_STORED, *(() if dimension == 1 else _HALVED))
    others = [IndexSize(form=name, bytes=index.n_passages * each(dimension)) for name, each in forms if name != stored]
    return (now, *sorted(others, key=lambda each: -each.bytes))


def forms_finding(facts: ArmFacts) -> str:
    """What smaller vectors would save, as a finding; for those that are stored smaller already, what they save."""
    now, *others = other_forms(facts)
    form, larger = ("int8", False) if now.form.endswith("(float32)") else ("float32", True)
    other = next(each for each in others if each.form == form)
    how = "what that gains" if larger else "what that loses"
    said = f"As {form} the vectors would take {words.size(other.bytes)} instead of {words.size(now.bytes)}"
    return f"{said}; {how} in quality has to be measured (ragtrial quantize)"
