"""An assessment in words: the same in the terminal and on the page."""

from ragtrial.domain.assessment import Assessment, Costs, Elsewhere, Outcome, Probe, Reason
from ragtrial.domain.estimate import Estimate
from ragtrial.domain.failure import LookAlike, Trait
from ragtrial.report import words

HEADINGS: dict[Outcome, str] = {
    "train": "Train a custom model",
    "try hybrid first": "Try a free method first",
    "collect more first": "Collect more first",
    "don't": "Don't train",
}
TONES: dict[Outcome, str] = {"train": "good", "try hybrid first": "calm", "collect more first": "open", "don't": "calm"}
STYLES: dict[Outcome, str] = {
    "train": "bold green",
    "try hybrid first": "bold blue",
    "collect more first": "bold yellow",
    "don't": "bold blue",
}
CONFUSED = 2
"""Failed queries from which a pair of look-alike terms is listed: one may be chance."""

ELSEWHERE = "On other data, for comparison; none of it is a promise for yours."


def number(value: float | None) -> str:
    """A share with four decimals, or a dash."""
    return words.NOTHING if value is None else f"{value:.4f}"


def interval(estimate: Estimate, *, signed: bool = False, digits: int = 4) -> str:
    """`[low, high]`, or a dash."""
    if estimate.low is None or estimate.high is None:
        return words.NOTHING
    sign = "+" if signed else ""
    return f"[{estimate.low:{sign}.{digits}f}, {estimate.high:{sign}.{digits}f}]"


def change(estimate: Estimate, *, digits: int = 4) -> str:
    """A difference with its interval, or with the reason why it has none."""
    if estimate.value is None:
        return f"not measured: {estimate.reason}"
    if estimate.low is None:
        return f"{estimate.value:+.{digits}f} (no interval: {estimate.reason})"
    return f"{estimate.value:+.{digits}f} {interval(estimate, signed=True, digits=digits)}"


def direction(estimate: Estimate) -> int:
    """1 where the interval lies above 0, -1 below, 0 else."""
    if estimate.low is None or estimate.high is None:
        return 0
    return 1 if estimate.low > 0 else -1 if estimate.high < 0 else 0


def failing(assessment: Assessment) -> str:
    """How many queries fail, in one sentence."""
    found = assessment.failures.failing
    if found.value is None:
        return f"No query could be scored: {found.reason}"
    n = len(assessment.failures.queries)
    return (
        f"{n:,} of {found.n:,} queries ({found.value:.1%} {share_interval(found)}) get nothing relevant among their first ten passages"
        f"; for {assessment.failures.nowhere:,} of them neither the model nor BM25 finds anything among the first hundred"
    )


def share_interval(estimate: Estimate) -> str:
    """An interval in percent."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{estimate.low:.1%}, {estimate.high:.1%}]"


def training(found: Costs) -> str:
    """How long training would take, short."""
    if found.train_low_s is None or found.train_high_s is None:
        return "Not known"
    return f"{seconds(found.train_low_s)} to {seconds(found.train_high_s)}"


def power(assessment: Assessment) -> str:
    """What the gold set can show."""
    if assessment.mde is None:
        return f"What differences this gold set can show is not known: {assessment.no_mde}"
    return (
        f"With {assessment.failures.n:,} scored queries a difference in {assessment.metric} of about {assessment.mde:.4f} can be shown; "
        f"worth having is {assessment.min_effect:g} (differences taken to spread as planned, and queries as independent)"
    )


def trait(found: Trait) -> str:
    """One trait in a line."""
    if found.difference.value is None:
        return f"not compared: {found.difference.reason}"
    return f"{found.failed:.2f} failed, {found.succeeded:.2f} succeeded: {change(found.difference, digits=2)}"


def look_alike(pair: LookAlike) -> str:
    """One pair of terms in a line."""
    return (
        f"{pair.left} / {pair.right}: similarity {pair.similarity:.2f}, contexts {pair.context:.2f}, "
        f"{words.count(pair.n_confused, 'failed query', 'failed queries')} with passages of the other"
    )


def volume(assessment: Assessment) -> list[str]:
    """What there is to train on."""
    found = assessment.volume
    counted = f"{found.n_passages:,} passages from {found.n_documents:,} documents"
    lines = [f"{counted}; gold set of {found.n_queries:,} queries with {found.n_judgments:,} judgments"]
    if found.n_pairs is None:
        return [*lines, f"training pairs: none, as {found.no_pairs}"]
    refused = "; ".join(f"{n:,} because {reason}" for reason, n in found.refused) or "none"
    return [*lines, f"{found.n_pairs:,} training pairs from {found.n_training_queries:,} queries; kept out of training: {refused}"]


def elsewhere(row: Elsewhere) -> str:
    """One row of the table in a line."""
    queries = "no labelled queries" if row.n_queries is None else f"{row.n_queries:,} training queries"
    return f"{row.data}: {queries}, {row.gain}"


def seconds(value: float) -> str:
    """`40 s`, `12 min`, `3.1 h`."""
    if value < 90:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def costs(found: Costs) -> list[tuple[str, str]]:
    """What it takes, a line each: what, how much."""
    price = found.cost_per_hour

    def priced(value: float) -> str:
        return "" if price is None else f", {value / 3600 * price:.3g} at {price:g} an hour"

    rows = [
        (
            "embedding",
            f"{found.passages_per_s:,.0f} passages a second here ({found.n_timed} timed); one query {words.milliseconds(found.query_ms)}"
            + ("" if found.busy is None else f"; the machine was busy ({found.busy:.1f} times its cores), so all of this may take less"),
        )
    ]
    if found.train_low_s is None or found.train_high_s is None:
        rows.append(("training", "not estimated: there is nothing to train on"))
    else:
        rows.append(
            (
                "training",
                f"about {seconds(found.train_low_s)} to {seconds(found.train_high_s)} on this machine{priced(found.train_high_s)}: a guess",
            )
        )
    rows += [
        ("embedding the corpus again", f"{seconds(found.reembed_s)}{priced(found.reembed_s)}, for every new version of the model"),
        ("one more collection", f"{words.size(found.index_bytes)} of vectors ({found.dimension} dimensions), beside the index's own links"),
        ("a query", "as long as with the baseline, as long as the architecture stays"),
    ]
    return rows


def mark(reason: Reason) -> str:
    """What became of a rule: whether it applies, and whether it is the first that does; empty of what no rule asks for."""
    if reason.decides:
        return "applies, decides"
    return {True: "applies", False: "does not apply", None: ""}[reason.applies]


def probe(found: Probe) -> str:
    """What the linear adapter came to."""
    if found.difference is None or found.folds is None or found.seconds is None:
        return f"not made, {found.reason}"
    return (
        f"a linear adapter over the frozen vectors, {found.folds}-fold on the training queries: nDCG@10 {change(found.difference)} "
        f"on queries that it had not seen ({seconds(found.seconds)})"
    )
