"""What a quantization found, as rows, as a page and as JSON."""

import dataclasses
from typing import Any

from ragtrial.domain.quantization import DIFFERING, Quantization, VariantResult
from ragtrial.report import pareto_charts, words
from ragtrial.report.page import rendered
from ragtrial.report.svg import in_two_widths

HEADINGS = (
    "variant",
    "metric",
    "difference [interval]",
    "within",
    "query p50",
    "passages/s",
    "bytes/vector",
    "cost",
    "per million queries",
)


def sentence(found: Quantization) -> str:
    """What was picked, and why."""
    pick, name = found.pick, found.pick.variant.name
    n = sum(result.costs is not None for result in found.results)
    if pick is found.reference:
        return (
            f"No variant is both cheaper than float32 and shown to lose less than {found.max_loss:g} {found.metric} "
            f"({n} measured, on {found.reference.n_queries:,} queries): stay with {name}."
        )
    cost = found.cost(pick)
    shown = "scores the same on every query" if pick.identical else f"loses less than {found.max_loss:g} {found.metric}: {_interval(pick)}"
    return f"{name} is the cheapest variant that {shown}; it costs {cost:.2f} times the reference ({_by(found)})."


def notes(found: Quantization) -> tuple[str, ...]:
    """What a reader has to know of the numbers."""
    together = (
        f"Intervals cover their truths together with {1 - found.alpha:.0%} (Bonferroni over {found.family}), so that looking at several "
        "variants makes no false pick likelier; the pick goes by their lower ends and not by means."
    )
    same = [result for result in found.results if result.identical and result.differing is not None]
    unspread = (
        f"{', '.join(result.variant.name for result in same)}: no difference on any query, so no spread and no interval. That leaves up to "
        f"{max(result.differing or 0.0 for result in same):.1%} of such queries that may still differ (exact, one-sided, Bonferroni); "
        f"with at most {DIFFERING:.0%} it counts as within."
        if same
        else ""
    )
    counted = (
        f"n = {found.reference.n_scored:,} of {found.reference.n_queries:,} queries scored with the reference.",
        *(
            f"{result.variant.name}: {n:,} of {result.n_queries:,} queries left out ({reason})."
            for result in found.results
            for reason, n in result.excluded.items()
        ),
    )
    speed = (
        "Speed is a ratio to the reference in the same run, in turns; milliseconds and passages per second are this machine's. "
        "Costs have no interval: a few hundredths are noise."
    )
    price = (
        "Cost per million queries is CPU time: no price is known (--usd-per-cpu-hour)."
        if found.usd_per_cpu_hour is None
        else f"Cost per million queries is CPU time at {found.usd_per_cpu_hour:g} USD a core and hour."
    )
    return (*counted, together, *([unspread] if unspread else []), speed, price, f"Searched in {found.store}.")


def rows(found: Quantization) -> tuple[tuple[str, ...], ...]:
    """A row of words for each variant, the reference first, then by cost; what was not measured says why."""

    def order(result: VariantResult) -> float:
        cost = found.cost(result)
        return float("inf") if cost is None else cost

    ordered = [found.reference, *sorted(found.results, key=order)]
    return tuple(_row(found, result) for result in ordered)


def _row(found: Quantization, result: VariantResult) -> tuple[str, ...]:
    name = result.variant.name + (" (pick)" if result is found.pick else "")
    costs = result.costs
    if costs is None or result.mean is None:
        return (name, result.reason or "no query has a score", *("" for _ in HEADINGS[2:]))
    if result is found.reference:
        difference, within = "reference", ""
    else:
        difference = "no difference on any query" if result.identical else _interval(result)
        within = "yes" if result.within(found.max_loss) else "not shown"
    cost = found.cost(result)
    return (
        name,
        f"{result.mean:.4f}",
        difference,
        within,
        f"{costs.query_p50_ms:.1f} ms ({costs.query_ratio:.2f}x)",
        f"{costs.passages_per_s:.0f} ({1 / costs.passage_ratio:.2f}x)",
        f"{costs.vector_bytes:,} (index {words.size(costs.vector_bytes * found.n_passages)})",
        "" if cost is None else f"{cost:.2f}",
        _million(found, costs.query_cpu_s),
    )


def _million(found: Quantization, cpu_s: float) -> str:
    hours = cpu_s * 1e6 / 3600
    return f"{hours:,.1f} CPU hours" if found.usd_per_cpu_hour is None else f"{hours * found.usd_per_cpu_hour:,.2f} USD"


def _interval(result: VariantResult) -> str:
    if result.estimate is None or result.low is None or result.high is None:
        return result.reason or "no interval"
    return f"{result.estimate:+.4f} [{result.low:+.4f}, {result.high:+.4f}]"


def _by(found: Quantization) -> str:
    return {"all": "query, passages and bytes together", "query": "query time", "passage": "embedding time", "bytes": "bytes"}[found.by]


def as_dict(found: Quantization, *, arm: str) -> dict[str, Any]:
    """For `--json`."""

    def one(result: VariantResult) -> dict[str, Any]:
        return {
            "name": result.variant.name,
            **dataclasses.asdict(result),
            "cost": found.cost(result),
            "within": result.within(found.max_loss),
            "on_front": found.on_front(result),
        }

    return {
        "experiment": found.experiment,
        "model": found.model,
        "metric": found.metric,
        "max_loss": found.max_loss,
        "by": found.by,
        "alpha": found.alpha,
        "intervals": {"method": "bonferroni", "family": found.family},
        "n_passages": found.n_passages,
        "store": found.store,
        "usd_per_cpu_hour": found.usd_per_cpu_hour,
        "reference": one(found.reference),
        "variants": [one(result) for result in found.results],
        "pick": found.pick.variant.name,
        "sentence": sentence(found),
        "arm": arm,
    }


def as_html(found: Quantization, *, arm: str) -> str:
    """One page with the picture, the table and the arm to deploy; it asks nothing of any network."""
    chart = in_two_widths("pareto", lambda look: pareto_charts.pareto(found, look=look))
    return rendered(
        "quantization.html.j2",
        q=found,
        chart=chart,
        sentence=sentence(found),
        notes=notes(found),
        headings=HEADINGS,
        rows=rows(found),
        arm=arm,
    )
