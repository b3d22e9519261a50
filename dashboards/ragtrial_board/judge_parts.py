"""Parts of the pages on judges: what stands beside what, as HTML and as rows of tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from ragtrial.domain.calibration import Calibration, Estimate
from ragtrial.domain.verdict import CallCount, JudgeQuality
from ragtrial.report import words
from ragtrial.report.judge_words import Unscored, drawn
from ragtrial_board.saying import badge, escaped, plain

LEAST_SECONDS = 0.5
"""Nobody reads an answer in less: a key that is held down, or pressed twice, must not label what nobody has seen."""

MEANS: Mapping[str, str] = {
    "correct": "It says what a reference answer says, in whatever words, and nothing against it.",
    "partly": "A part of what is asked is right, or all of it with a smaller error.",
    "wrong": "It contradicts the references, misses what was asked, or answers something else.",
    "abstained": "It gives no answer, for instance says that it found none.",
    "grounded": "Everything that it claims stands in the passages.",
    "ungrounded": "What it claims does not stand in the passages, or they say otherwise.",
}
_PARTLY_GROUNDED = "Some of what it claims stands in the passages, some does not."


def part(title: str, lead: str | None = None) -> None:
    """The finding of one part of the page."""
    below = f'<p class="rt-part-lead">{escaped(lead)}</p>' if lead else ""
    st.html(f'<h2 class="rt-part">{escaped(title)}</h2>{below}')


def notes(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """What to know besides: a mark (tone, sign, word) and a sentence, each."""
    items = "".join(f"<li>{badge(tone, sign, word)} <span>{escaped(said)}</span></li>" for tone, sign, word, said in rows)
    if items:
        st.html(f'<ul class="rt-notes">{items}</ul>')


def not_counted(found: Calibration, *, since: int) -> list[tuple[str, str, str, str]]:
    """Labels that do not count, or not yet, as `notes`.

    Args:
        found: A judge beside people.
        since: Labels that came in after it was concluded.
    """
    rows = [("open", "!", "Stale" if "stale" in said else "Elsewhere", f"{said}.") for said in found.stale]
    if since:
        said = (
            f"{words.count(since, 'label')} came in since this was concluded: the roll-up takes them in half a minute after the last one."
        )
        rows.insert(0, ("calm", "…", "Coming", said))
    if found.n_volunteered:
        said = f"{words.count(found.n_volunteered, 'label')} came by themselves: shown in the agreement, they correct nothing, for people picked what to label."
        rows.append(("calm", "i", "Volunteered", said))
    if found.n_unused:
        rows.append(
            ("calm", "i", "Unused", f"{words.count(found.n_unused, 'label')} of queries that the judge has not scored in both arms.")
        )
    return rows


def people_rows(found: Sequence[Calibration], *, control: str, treatment: str) -> list[dict[str, Any]]:
    """A row for each metric and number: the judge beside people."""
    rows: list[dict[str, Any]] = []
    for each in found:
        agreed = drawn(each)
        if agreed is not None:
            parts = {"same word": agreed.share, "Cohen's kappa": agreed.kappa, "weighted kappa": agreed.weighted_kappa}
            rows += [_numbers(each.metric, name, value, agreed.n) for name, value in parts.items()]
        for name, group in (("judge minus people", each.bias), ("as judged", each.naive), ("corrected by people", each.corrected)):
            parts = {f"{name}, {control}": group.control, f"{name}, {treatment}": group.treatment, f"{name}, difference": group.difference}
            rows += [_numbers(each.metric, said, value, each.n_answers) for said, value in parts.items()]
    return rows


def _numbers(metric: str, name: str, value: Estimate | None, n: int) -> dict[str, Any]:
    ends = (None, None, None) if value is None else (value.estimate, value.low, value.high)
    return {"metric": metric, "what": name, **dict(zip(("estimate", "low", "high"), ends, strict=True)), "labels": n}


def judge_rows(judges: Sequence[JudgeQuality]) -> list[dict[str, Any]]:
    """A row for each judged metric: the judge beside itself."""
    return [
        {
            "metric": each.metric,
            "judge": each.scorer,
            "opinions": each.n_opinions,
            "unusable": each.n_unscored,
            "judged again": each.n_repeated,
            "changed its mind": each.flipped,
            "two opinions differ": each.disagreement,
            "its share of the noise": each.noise_share,
            "half width now": each.half_width,
            "twice the judgments": each.half_width_judgments,
            "twice the queries": each.half_width_queries,
            "not told": each.why_not,
        }
        for each in judges
    ]


def unscored_rows(found: Sequence[Unscored]) -> list[dict[str, Any]]:
    """A row for each metric, reason and arm."""
    return [
        {"metric": u.metric, "reason": u.reason, "arm": u.arm, "answers": u.n, "of": u.of, "share": u.n / u.of if u.of else None}
        for u in found
    ]


def call_rows(counts: Sequence[CallCount]) -> list[dict[str, Any]]:
    """A row for each purpose of calls to LLMs."""
    return [
        {
            "purpose": c.purpose,
            "calls": c.made,
            "each arm alone": c.alone,
            "cost in USD": c.cost_usd,
            "each arm alone, in USD": c.cost_alone_usd,
            "without a known cost": c.unpriced,
        }
        for c in counts
    ]


def meaning(word: str, among: Sequence[str]) -> str:
    """What a label means among those that may be chosen."""
    return _PARTLY_GROUNDED if word == "partly" and "grounded" in among else MEANS[word]


def said_by_others(title: str, texts: Sequence[str], *, empty: str, name: str = "", shown: Callable[[str], str] = plain) -> str:
    """A titled box of texts that people or models wrote, as HTML.

    Args:
        title: What they are.
        texts: One below the other.
        empty: What stands there where there is none.
        name: Further classes of the box.
        shown: How each is shown: as it is, unless it is `marked`.
    """
    filled = [text for text in texts if text.strip()]
    body = "".join(map(shown, filled)) if filled else f'<p class="rt-muted">{escaped(empty)}</p>'
    return f'<section class="rt-said-by {escaped(name)}"><h3>{escaped(title)}</h3>{body}</section>'
