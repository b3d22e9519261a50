"""What is measured: names as `ir_measures` writes them, with unit, direction and range."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

MetricKind = Literal["retrieval", "answer", "operation", "feedback"]
Judge = Literal["judge", "ragas"]
RETRIEVAL_MEASURES = ("nDCG", "R", "P", "RR", "AP", "Success", "Judged")
_CUT_OFF = re.compile(r"(?P<filled>judge_)?(?P<measure>[A-Za-z]+)@(?P<cutoff>[1-9][0-9]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One thing that is measured for a query.

    Attributes:
        name: E.g. `nDCG@10`, `answer_f1`, `latency_ms`.
        kind: What it is about: the ranking, the answer, the operation, or what users did with the answer (live only).
        unit: `share` (0 to 1), `ms`, `usd` or `tokens`.
        higher_is_better: False for latency, cost and abstention.
        measure: The retrieval measure without its cut-off; None for other kinds.
        cutoff: The retrieval cut-off k; None for other kinds.
        judge: Who computes it, where that takes an LLM or RAGAS: `judge` (our own) or `ragas`.
        needs_reference: It compares with a reference answer, so a query without one has no score.
    """

    name: str
    kind: MetricKind
    unit: str = "share"
    higher_is_better: bool = True
    measure: str | None = None
    cutoff: int | None = None
    judge: Judge | None = None
    needs_reference: bool = False


IMPORTED = "imported:"
"""Begins the name of a score that another program gave: `ragtrial compare --scores` alone has them."""

_OTHERS = {
    metric.name: metric
    for metric in (
        Metric(name="answer_f1", kind="answer", needs_reference=True),
        Metric(name="answer_containment", kind="answer", needs_reference=True),
        Metric(name="answer_token_recall", kind="answer", needs_reference=True),
        Metric(name="answer_exact_match", kind="answer", needs_reference=True),
        Metric(name="answer_rouge_l", kind="answer", needs_reference=True),
        Metric(name="answer_similarity", kind="answer", needs_reference=True),
        Metric(name="citation_support", kind="answer"),
        Metric(name="abstained", kind="answer", higher_is_better=False),
        Metric(name="judge_correctness", kind="answer", judge="judge", needs_reference=True),
        Metric(name="judge_groundedness", kind="answer", judge="judge"),
        Metric(name="judge_preference", kind="answer", judge="judge"),
        Metric(name="faithfulness", kind="answer", judge="ragas"),
        Metric(name="answer_relevancy", kind="answer", judge="ragas"),
        Metric(name="context_precision", kind="answer", judge="ragas", needs_reference=True),
        Metric(name="context_recall", kind="answer", judge="ragas", needs_reference=True),
        Metric(name="factual_correctness", kind="answer", judge="ragas", needs_reference=True),
        Metric(name="answer_accuracy", kind="answer", judge="ragas", needs_reference=True),
        Metric(name="ragas_rouge", kind="answer", judge="ragas", needs_reference=True),
        Metric(name="ragas_chrf", kind="answer", judge="ragas", needs_reference=True),
        Metric(name="ragas_string_similarity", kind="answer", judge="ragas", needs_reference=True),
        Metric(name="latency_ms", kind="operation", unit="ms", higher_is_better=False),
        Metric(name="embed_ms", kind="operation", unit="ms", higher_is_better=False),
        Metric(name="search_ms", kind="operation", unit="ms", higher_is_better=False),
        Metric(name="rerank_ms", kind="operation", unit="ms", higher_is_better=False),
        Metric(name="generate_ms", kind="operation", unit="ms", higher_is_better=False),
        Metric(name="failed", kind="operation", higher_is_better=False),
        Metric(name="unmapped", kind="operation", higher_is_better=False),
        Metric(name="cost_usd", kind="operation", unit="usd", higher_is_better=False),
        Metric(name="prompt_tokens", kind="operation", unit="tokens", higher_is_better=False),
        Metric(name="completion_tokens", kind="operation", unit="tokens", higher_is_better=False),
        Metric(name="rated", kind="feedback"),
        Metric(name="thumbs_up", kind="feedback"),
        Metric(name="thumbs_down", kind="feedback", higher_is_better=False),
        Metric(name="up_share", kind="feedback"),
        Metric(name="copied", kind="feedback"),
        Metric(name="rephrased", kind="feedback", higher_is_better=False),
        Metric(name="citation_clicked", kind="feedback"),
        Metric(name="preference", kind="feedback"),
    )
}


def metric_named(name: str) -> Metric:
    """The metric of this name.

    Raises:
        ValueError: No such metric; the message lists what there is.
    """
    if name in _OTHERS:
        return _OTHERS[name]
    if name.startswith(IMPORTED) and name != IMPORTED:
        own = name.removeprefix(IMPORTED)
        return Metric(name=name, kind="answer", higher_is_better=own not in ("latency_ms", "cost"))
    match = _CUT_OFF.fullmatch(name)
    if match and match["measure"] in RETRIEVAL_MEASURES and not (match["filled"] and match["measure"] == "Judged"):
        judge: Judge | None = "judge" if match["filled"] else None
        return Metric(name=name, kind="retrieval", measure=match["measure"], cutoff=int(match["cutoff"]), judge=judge)
    cutoff = name.partition("@")[2]
    like_it = [f"{measure}@{int(cutoff)}" for measure in RETRIEVAL_MEASURES] if cutoff.isdecimal() and int(cutoff) else []
    by_lower = {known.lower(): known for known in (*_OTHERS, *like_it)}
    meant = get_close_matches(name.lower(), by_lower, n=1)
    guess = f"did you mean {by_lower[meant[0]]!r}? There" if meant else "there"
    measures = ", ".join(f"{measure}@k" for measure in RETRIEVAL_MEASURES)
    raise ValueError(f"unknown metric {name!r}: {guess} are {measures} (judge_nDCG@k: holes filled by an LLM), {', '.join(_OTHERS)}")
