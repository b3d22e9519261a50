"""Findings as the rules see them: a baseline with room, enough of everything, and no free method that helps."""

from dataclasses import replace
from typing import Any

from ragtrial.assessment.recommending import Findings
from ragtrial.domain.assessment import DataVolume, Option
from ragtrial.domain.estimate import Estimate
from ragtrial.domain.failure import FailedQuery, Failures


def estimate(value: float, *, name: str = "nDCG@10", half: float = 0.02, n: int = 300) -> Estimate:
    return Estimate(name=name, n=n, value=value, low=value - half, high=value + half)


def option(name: str, gain: float, *, half: float = 0.005) -> Option:
    difference = estimate(gain, half=half)
    return Option(name=name, purpose="alternative", metric="nDCG@10", mean=estimate(0.5 + gain), difference=difference, takes="nothing")


def failures(n: int = 300, *, n_failed: int = 90, nowhere: int = 5, unjudged: int = 0) -> Failures:
    return Failures(
        n=n,
        n_unjudged=unjudged,
        failing=estimate(n_failed / n, name="failing"),
        nowhere=nowhere,
        queries=tuple(FailedQuery(query_id=f"q{i}", text="a query", rank=None, bm25_rank=None) for i in range(n_failed)),
        groups=(),
        no_groups="none were made",
        slices=(),
        traits=(),
        no_traits=None,
        split_terms=(),
        look_alikes=(),
        no_look_alikes=None,
    )


def volume(n_queries: int | None = 800) -> DataVolume:
    counted = {} if n_queries is None else {"n_pairs": n_queries, "n_training_queries": n_queries}
    why = "the experiment has no training section" if n_queries is None else None
    return DataVolume(n_documents=50, n_passages=400, n_queries=300, n_judgments=300, no_pairs=why, **counted)


def findings(**changes: Any) -> Findings:
    base = Findings(
        baseline={
            "nDCG@10": estimate(0.5),
            "R@1": estimate(0.4, name="R@1"),
            "R@10": estimate(0.7, name="R@10"),
            "RR@10": estimate(0.5, name="RR@10"),
        },
        ceilings={"R@1": 1.0, "nDCG@10": 1.0},
        options=(option("BM25", -0.05), option("hybrid (dense + BM25)", 0.0)),
        deeper=(),
        failures=failures(),
        volume=volume(),
        probe=None,
        mde=0.03,
        min_effect=0.01,
        min_queries=100,
        assumed_sd=0.2,
        alpha=0.05,
        power=0.8,
    )
    return replace(base, **changes)
