"""What the findings come to: every rule in one place, each with its number, the first that applies decides."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragtrial.assessment.failing import OVERLAP
from ragtrial.domain.assessment import DataVolume, Elsewhere, Option, Outcome, Probe, Reason, Recommendation
from ragtrial.domain.estimate import Estimate
from ragtrial.domain.failure import Failures
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.power import queries_for

FEWEST_PAIRS = 400
"""Training queries below which pairs are collected first: the smallest set of the table `elsewhere` that moved at all had 425."""

SATURATED = 0.95
"""Share of a metric's ceiling from which it is saturated."""

MOST_UNJUDGED = 0.1
"""Share of gold queries without a relevant passage from which the gold set is mended first."""

MOST_NOWHERE = 0.5
"""Share of failed queries that no method finds anything for, from which data are mended first."""

CONFUSED = 2
"""Failed queries from which a pair of look-alike terms is worth a word: one may be chance."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the rules look at.

    Attributes:
        baseline: Its metrics by name.
        ceilings: The most that each can reach.
        options: Measured alternatives.
        deeper: Recall at larger depths.
        failures: Where it fails.
        volume: Data.
        probe: A linear adapter, where it was tried.
        mde: The smallest difference that the gold set can show; None where unknown.
        min_effect: The smallest gain that is worth it.
        min_queries: Planned least number of scored queries.
        assumed_sd: Of paired differences, as planned.
        alpha: Planned.
        power: Planned.
    """

    baseline: dict[str, Estimate]
    ceilings: dict[str, float]
    options: Sequence[Option]
    deeper: Sequence[Option]
    failures: Failures
    volume: DataVolume
    probe: Probe | None
    mde: float | None
    min_effect: float
    min_queries: int
    assumed_sd: float
    alpha: float
    power: float

    @property
    def headroom(self) -> float | None:
        """What nDCG@10 leaves below 1."""
        value = self.baseline["nDCG@10"].value
        return None if value is None else 1.0 - value


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What one rule found.

    Attributes:
        name: Short.
        outcome: What it speaks for where it applies.
        applies: Whether it does.
        text: One sentence with its numbers, either way.
    """

    name: str
    outcome: Outcome
    applies: bool
    text: str


def recommend(findings: Findings, elsewhere: Sequence[Elsewhere]) -> Recommendation:
    """The first rule that applies decides; all of them are shown, applied or not, and then what no rule asks for."""
    rules = (
        _enough_queries(findings),
        _judged(findings),
        _saturated(findings),
        _findable(findings),
        _visible(findings),
        _alternative(findings),
        _enough_pairs(findings),
    )
    deciding = next((rule for rule in rules if rule.applies), None)
    asked = [
        Reason(
            outcome=rule.outcome if rule.applies else "train",
            rule=rule.name,
            text=rule.text,
            applies=rule.applies,
            decides=rule is deciding,
        )
        for rule in rules
    ]
    signs = _signs(findings)
    if deciding is not None:
        return Recommendation(outcome=deciding.outcome, sentence=_sentence(deciding), reasons=(*asked, *signs))
    train = Reason(outcome="train", rule="failures", text=_failing(findings), applies=True, decides=True)
    return Recommendation(
        outcome="train",
        sentence=f"Train a custom model and compare it: {train.text}, and no free method mends that (ragtrial train, then ragtrial evaluate).",
        reasons=(*asked, train, *signs),
        expected=_expected(findings, elsewhere),
    )


def _enough_queries(f: Findings) -> Rule:
    n = f.failures.n
    if n < f.min_queries:
        missing = f.min_queries - n
        return Rule(
            name="gold queries",
            outcome="collect more first",
            applies=True,
            text=f"only {n} gold queries can be scored, and the plan asks for {f.min_queries}: judge {missing} more",
        )
    return Rule(
        name="gold queries",
        outcome="collect more first",
        applies=False,
        text=f"{n:,} gold queries can be scored, and the plan asks for {f.min_queries:,}",
    )


def _judged(f: Findings) -> Rule:
    whole = f.failures.n + f.failures.n_unjudged
    share = f.failures.n_unjudged / whole if whole else 0.0
    return Rule(
        name="judgments",
        outcome="collect more first",
        applies=share > MOST_UNJUDGED,
        text=f"{f.failures.n_unjudged:,} of {whole:,} gold queries ({share:.0%}) have no relevant passage in the corpus, up to "
        f"{MOST_UNJUDGED:.0%} may" + (": add the missing documents or judgments" if share > MOST_UNJUDGED else ""),
    )


def _saturated(f: Findings) -> Rule:
    ndcg, first, found_at = f.baseline["nDCG@10"], f.baseline["R@1"], f.baseline["RR@10"]
    if ndcg.value is None or first.value is None or found_at.value is None:
        return Rule(name="saturation", outcome="don't", applies=False, text="the baseline could not be measured")
    ceiling, headroom = f.ceilings["R@1"], 1.0 - ndcg.value
    of_ceiling = first.value / ceiling
    little = headroom < f.min_effect or (ndcg.low is not None and ndcg.low >= SATURATED) or ndcg.value == 1.0
    on_top = of_ceiling >= SATURATED and found_at.value >= SATURATED
    at_1 = f"R@1 is {first.value:.4f}, {of_ceiling:.0%} of the {ceiling:.4f} that its relevant passages allow"
    text = f"{at_1} ({SATURATED:.0%} would be saturated); nDCG@10 is {ndcg.value:.4f} and leaves {headroom:.4f} (worth having is {f.min_effect:g})"
    if on_top and not little:
        text += f", all of it below the first passage (RR@10 {found_at.value:.4f})"
        more = next((option for option in f.deeper if option.metric == "R@50" and option.mean.value is not None), None)
        if more is not None:
            text += f": retrieving 50 passages instead of 10 gives a recall of {more.mean.value:.4f} for nothing"
    return Rule(name="saturation", outcome="don't", applies=little or on_top, text=text)


def _findable(f: Findings) -> Rule:
    n = len(f.failures.queries)
    share = f.failures.nowhere / n if n else 0.0
    applies = n >= 5 and share >= MOST_NOWHERE
    text = (
        f"for {f.failures.nowhere:,} of {n:,} failed queries ({share:.0%}; {MOST_NOWHERE:.0%} would be too many) neither the model nor BM25 "
        "finds a relevant passage among the first 100"
    )
    return Rule(
        name="data gaps",
        outcome="collect more first",
        applies=applies,
        text=text + (": look whether documents are missing or judged wrongly, before any training" if applies else ""),
    )


def _visible(f: Findings) -> Rule:
    if f.mde is None or f.headroom is None:
        return Rule(name="power", outcome="collect more first", applies=False, text="what the gold set can show is not known")
    text = f"{f.failures.n:,} queries show a difference of about {f.mde:.4f} with {f.power:.0%} power; nDCG@10 leaves {f.headroom:.4f}"
    applies = f.mde > f.headroom > 0.0
    wanted = f.headroom if applies else f.min_effect
    if f.mde > wanted > 0.0:
        try:
            n = queries_for(wanted, f.assumed_sd, alpha=f.alpha, power=f.power)
            text += f", and about {n:,} queries are needed to show as little as {wanted:.4f}"
        except NotEnoughDataError as error:
            text += f" ({error})"
    return Rule(name="power", outcome="collect more first", applies=applies, text=text)


def _alternative(f: Findings) -> Rule:
    shown = [option for option in f.options if option.purpose == "alternative"]
    gains = [(option.difference.value, option) for option in shown if option.difference.value is not None]
    worth = [(gain, option) for gain, option in gains if gain >= f.min_effect and (option.difference.low or 0.0) > 0.0]
    if worth:
        gain, best = max(worth, key=lambda each: each[0])
        text = f"{best.name} gains {gain:+.4f} {best.metric} {_interval(best.difference)} without any training; worth having is {f.min_effect:g}"
        borrowed = _borrowed(f.failures)
        if borrowed is not None:
            text += (
                f". The gold queries share {borrowed:.0%} of their words with a passage that answers them: where users share fewer, "
                "it gains less"
            )
        return Rule(name="free methods", outcome="try hybrid first", applies=True, text=text)
    said = "; ".join(f"{option.name} {gain:+.4f} {_interval(option.difference)}" for gain, option in gains) or "they could not be measured"
    return Rule(
        name="free methods",
        outcome="try hybrid first",
        applies=False,
        text=f"no free method gains what is worth having, {f.min_effect:g}: {said}",
    )


def _borrowed(failures: Failures) -> float | None:
    """Share of a query's words that its best relevant passage holds, over all queries."""
    trait = next((each for each in failures.traits if each.name == OVERLAP), None)
    if trait is None or trait.failed is None or trait.succeeded is None or failures.failing.value is None:
        return trait.succeeded if trait is not None else None
    return failures.failing.value * trait.failed + (1 - failures.failing.value) * trait.succeeded


def _enough_pairs(f: Findings) -> Rule:
    n = f.volume.n_training_queries
    if n is None:
        why = f.volume.no_pairs or "there are none"
        return Rule(
            name="training pairs",
            outcome="collect more first",
            applies=True,
            text=f"there is nothing to train on: {why} (ragtrial pairs makes some)",
        )
    if n < FEWEST_PAIRS:
        return Rule(
            name="training pairs",
            outcome="collect more first",
            applies=True,
            text=f"{n:,} training queries are fewer than the {FEWEST_PAIRS} below which nothing was gained elsewhere: "
            f"collect or make {FEWEST_PAIRS - n:,} more (ragtrial pairs)",
        )
    return Rule(
        name="training pairs",
        outcome="collect more first",
        applies=False,
        text=f"{f.volume.n_pairs:,} training pairs from {n:,} queries don't touch the gold set; elsewhere {FEWEST_PAIRS} queries were enough",
    )


def _signs(f: Findings) -> list[Reason]:
    """What does not decide, and helps to see what training would have to learn."""
    found = []
    for trait in f.failures.traits:
        low, high = trait.difference.low, trait.difference.high
        if low is not None and high is not None and (low > 0 or high < 0) and trait.failed is not None and trait.succeeded is not None:
            found.append(
                Reason(
                    outcome="train",
                    rule="trait of failures",
                    text=f"{trait.name}: {trait.failed:.2f} where it fails and {trait.succeeded:.2f} where it succeeds "
                    f"({trait.difference.value:+.2f} {_interval(trait.difference, 2)})",
                )
            )
    confused = [pair for pair in f.failures.look_alikes if pair.n_confused >= CONFUSED]
    if confused:
        worst = confused[0]
        found.append(
            Reason(
                outcome="train",
                rule="look-alike terms",
                text=f"{len(confused)} {'pair' if len(confused) == 1 else 'pairs'} of terms may be taken for each other, most often "
                f"{worst.left!r} and {worst.right!r} "
                f"({worst.n_confused} failed queries)",
            )
        )
    probed = None if f.probe is None else f.probe.difference
    if probed is not None and probed.value is not None:
        learns = probed.low is not None and probed.low > 0
        found.append(
            Reason(
                outcome="train",
                rule="probe",
                text=f"a linear adapter moves nDCG@10 on held-out training queries by {probed.value:+.4f} {_interval(probed)}, so "
                + (
                    "something can be learnt from these pairs"
                    if learns
                    else "a matrix learns nothing of use from these pairs; a full training may"
                ),
            )
        )
    return found


def _failing(f: Findings) -> str:
    failing = f.failures.failing
    share = "some" if failing.value is None else f"{failing.value:.0%}"
    text = f"the baseline finds nothing relevant in its first ten passages for {share} of {failing.n:,} queries"
    return text if f.headroom is None else f"{text}, and its nDCG@10 leaves {f.headroom:.4f}"


def _sentence(first: Rule) -> str:
    text = first.text
    match first.outcome:
        case "don't":
            return f"Don't train a custom model for retrieval now: {text}."
        case "try hybrid first":
            return (
                f"Try what is free first: {text}. Then make it the control's retrieval.method and assess again: what it leaves is what "
                "training could gain."
            )
        case _:
            return f"Collect more first: {text}."


def _expected(f: Findings, elsewhere: Sequence[Elsewhere]) -> str | None:
    rows = [(row.gain_value, row.baseline, row) for row in elsewhere if row.gain_value is not None and row.baseline is not None]
    ours = f.baseline["nDCG@10"].value
    if not rows or ours is None:
        return None
    gains = [gain for gain, _, _ in rows]
    gain, _, like = min(rows, key=lambda each: abs(each[1] - ours))
    return (
        f"Elsewhere such training moved nDCG@10 by {min(gains):+.3f} to {max(gains):+.3f}; where the baseline was most like this one "
        f"({like.data.split(',')[0]}, {like.baseline:.2f}) by {gain:+.3f}. That is an expectation from other data, not a promise."
    )


def _interval(estimate: Estimate, digits: int = 4) -> str:
    if estimate.low is None or estimate.high is None:
        return "(no interval)"
    return f"[{estimate.low:+.{digits}f}, {estimate.high:+.{digits}f}]"
