"""Parts of the page of queries: what its views hold, in a sentence, and its rows as links."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ragtrial.db.board_reader import Missed, OutcomeView
from ragtrial.db.live_board_reader import TrialRow, TrialView
from ragtrial.domain.metric import Metric
from ragtrial.domain.outcome import TIE, QueryOutcome
from ragtrial.report import words
from ragtrial.report.summary import Summary
from ragtrial_board.linking import address
from ragtrial_board.query_reading import HIDDEN
from ragtrial_board.saying import badge, escaped

VIEWS: tuple[OutcomeView, ...] = (
    "baseline failures",
    "custom failures",
    "largest wins",
    "largest losses",
    "disagreements",
    "unjudged passages",
    "failures",
    "all",
)
SIZES = (10, 25, 50, 100)
SIZE = 25
"""Rows of a page where nothing else is asked for."""
LIVE_VIEWS: tuple[TrialView, ...] = ("latest", "thumbs down", "commented", "failures", "abstained", "not scored")

LONGEST_NUMBER = 15
"""Digits of a number in an address that databases can look for."""

SAID: Mapping[OutcomeView, str] = {
    "baseline failures": "Queries of which the baseline finds no relevant passage though there is one; those where custom gains most come first.",
    "custom failures": "Queries of which custom finds no relevant passage though there is one; those where it loses most come first.",
    "largest wins": "Queries that custom does better on, the largest gain first.",
    "largest losses": "Queries that custom does worse on, the largest loss first.",
    "disagreements": "Queries whose retrieval got better and whose answer got worse, or the other way round.",
    "unjudged passages": "Queries for which an arm brought up passages that nobody has judged: what is not judged counts as not relevant.",
    "failures": "Queries that failed in an arm, the most failed trials first.",
    "all": "All queries, in the order of the gold set.",
}
LIVE_SAID: Mapping[TrialView, str] = {
    "latest": "What was asked last, newest first.",
    "thumbs down": "Answers whose last vote is a thumb down, newest first.",
    "commented": "Answers that somebody wrote a comment on, newest first.",
    "failures": "Trials that failed, newest first.",
    "abstained": "Answers that say that nothing fitted, newest first.",
    "not scored": "Trials of which a planned metric has no value, with the reason, newest first.",
}


def finding(view: OutcomeView, total: int, missed: Missed, first: QueryOutcome | None, *, metric: Metric, among: str) -> str:
    """What a view comes to, in one sentence.

    Args:
        view: The view.
        total: Queries that it holds.
        missed: How many queries the arms miss.
        first: The first of them, or None.
        metric: The primary one.
        among: Which queries are looked at, where that is not all of them: ` of those with topic: gate`.
    """
    if not among and view == "baseline failures":
        return _missed("the baseline", "Custom", missed.baseline, missed.both)
    if not among and view == "custom failures":
        return _missed("custom", "The baseline", missed.custom, missed.both)
    n = words.count(total, "query", "queries")
    gain = "" if first is None or first.gain is None else f", by up to {words.signed(first.gain, metric)} {metric.name}"
    sentences: Mapping[OutcomeView, str] = {
        "baseline failures": f"The baseline finds nothing relevant in {n}",
        "custom failures": f"Custom finds nothing relevant in {n}",
        "largest wins": f"Custom does better on {n}{gain}",
        "largest losses": f"Custom does worse on {n}{gain}",
        "disagreements": f"Retrieval and answer went opposite ways in {n}",
        "unjudged passages": f"{n} brought up passages that nobody has judged",
        "failures": f"{n} failed in an arm" if total else "No query failed in any arm",
        "all": f"{n} {'was' if total == 1 else 'were'} asked",
    }
    return sentences[view] + among


def _missed(who: str, other: str, missed: int, both: int) -> str:
    if not missed:
        return f"{who[:1].upper()}{who[1:]} finds a relevant passage for every query that has one"
    queries = "query" if missed == 1 else "queries"
    if missed == both:
        whole = "the 1" if missed == 1 else f"any of the {missed:,}"
        return f"{other} finds no relevant passage in {whole} {queries} that {who} misses either"
    return f"{other} finds a relevant passage in {missed - both:,} of {missed:,} {queries} that {who} misses"


def among(tag: tuple[str, str] | None, text: str) -> str:
    """Which queries are looked at, behind a sentence; empty where it is all of them."""
    tagged = "" if tag is None else f" with {tag[0]}: {tag[1]}"
    holding = f" that hold “{text}”" if text else ""
    return f", of those{tagged}{holding}" if tagged or holding else ""


def rows_of_outcomes(rows: Sequence[QueryOutcome], summary: Summary, links: Sequence[str]) -> str:
    """Queries as a list in which each leads to its page."""
    primary, headline = summary.primary.metric, summary.headline
    answer = None if headline is None else headline.metric
    heads = ["query", primary.name, "gain", *([] if answer is None else [f"{answer.name} gain"]), "relevant found", "in both", "notes"]
    cells = []
    for row, link in zip(rows, links, strict=True):
        scores = f"{words.number(row.baseline, primary)} → {words.number(row.custom, primary)}"
        parts = [
            _asked(row.text, link, _tags(row.tags)),
            _cell(primary.name, scores),
            _cell("gain", _signed(row.gain, primary)),
            *([] if answer is None else [_cell(f"{answer.name} gain", _signed(row.answer_gain, answer))]),
            _cell("relevant found", f"{row.baseline_found} → {row.custom_found} of {row.relevant}"),
            _cell("in both", words.NOTHING if row.overlap is None else f"{row.overlap:.0%}"),
            _cell("notes", _notes(row)),
        ]
        cells.append(f"<tr>{''.join(parts)}</tr>")
    return _listed("Queries", heads, cells)


def _asked(text: str, link: str, below: str) -> str:
    """A query's cell: its text leads to its page."""
    return f'<th scope="row"><a class="q-link" href="{escaped(link)}" target="_self" dir="auto">{escaped(text)}</a>{below}</th>'


def _tags(tags: Mapping[str, str]) -> str:
    items = "".join(f'<li dir="auto"><span>{escaped(tag)}</span> {escaped(value)}</li>' for tag, value in sorted(tags.items()))
    return f'<ul class="q-tags">{items}</ul>' if items else ""


def _cell(head: str, content: str) -> str:
    return f'<td data-head="{escaped(head)}">{f"<div>{content}</div>" if content else ""}</td>'


def _signed(gain: float | None, metric: Metric) -> str:
    """A gain, which is above 0 where custom is better, whatever the metric's direction."""
    if gain is None:
        return words.NOTHING
    if abs(gain) <= TIE:
        return '<span class="rt-muted">0</span>'
    side, sign = ("q-better", "▲") if gain > 0 else ("q-worse", "▼")
    return f'<span class="{side}"><span aria-hidden="true">{sign}</span> {escaped(words.signed(gain, metric))}</span>'


def _notes(row: QueryOutcome) -> str:
    notes = []
    if row.failed:
        notes.append(badge("bad", "✕", f"{row.failed} failed"))
    if row.unjudged:
        notes.append(f'<span class="rt-muted">{row.unjudged} not judged</span>')
    return " ".join(notes)


def _listed(name: str, heads: Sequence[str], cells: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escaped(each)}</th>' for each in heads)
    return (
        f'<div class="q-wrap"><table class="q-table" aria-label="{escaped(name)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(cells)}</tbody></table></div>"
    )


def as_rows(rows: Sequence[QueryOutcome], summary: Summary) -> list[dict[str, object]]:
    """The same as numbers, for those who sort or download them."""
    headline = "answer" if summary.headline is None else summary.headline.metric.name
    return [
        {
            "query": row.text,
            "query_id": row.query_id,
            f"baseline {summary.primary.metric.name}": row.baseline,
            f"custom {summary.primary.metric.name}": row.custom,
            "gain": row.gain,
            f"{headline} gain": row.answer_gain,
            "relevant": row.relevant,
            "baseline found": row.baseline_found,
            "custom found": row.custom_found,
            "share in both": row.overlap,
            "not judged": row.unjudged,
            "failed": row.failed,
            "tags": "; ".join(f"{tag}: {value}" for tag, value in sorted(row.tags.items())),
        }
        for row in rows
    ]


def rows_of_trials(rows: Sequence[TrialRow], links: Sequence[str], *, reads_texts: bool) -> str:
    """Live trials as a list in which each leads to its page."""
    heads = ["query", "asked", "arm", "waited", "vote", "notes"]
    cells = []
    for row, link in zip(rows, links, strict=True):
        text = f"Trial {row.number:,}, {HIDDEN}" if not reads_texts else row.query_text or "only its hash is kept"
        parts = [
            _asked(text, link, "" if row.gold_query_id is None else '<ul class="q-tags"><li>gold query</li></ul>'),
            _cell("asked", escaped(datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%d %H:%M:%S"))),
            _cell("arm", escaped(row.arm) + ("" if row.served else ' <span class="rt-muted">silent</span>')),
            _cell("waited", escaped(words.milliseconds(row.waited_ms))),
            _cell("vote", _vote(row, reads_texts=reads_texts)),
            _cell("notes", _trial_notes(row)),
        ]
        cells.append(f"<tr>{''.join(parts)}</tr>")
    return _listed("Live trials", heads, cells)


def as_trial_rows(rows: Sequence[TrialRow], *, reads_texts: bool) -> list[dict[str, object]]:
    """The same for those who sort or download it."""
    return [
        {
            "trial_id": row.trial_id,
            "query": (row.query_text or "") if reads_texts else HIDDEN,
            "asked": datetime.fromtimestamp(row.at, UTC),
            "arm": row.arm,
            "served": row.served,
            "reason": row.reason,
            "waited_ms": row.waited_ms,
            "vote": row.thumb,
            "comment": row.comment if reads_texts or not row.comment else HIDDEN,
            "failure": row.failure,
            "abstained": row.abstained,
            "not scored": _unscored(row.unscored),
            "gold query": row.gold_query_id,
        }
        for row in rows
    ]


def _vote(row: TrialRow, *, reads_texts: bool) -> str:
    signs = {"up": "▲ up", "down": "▼ down", "withdrawn": "withdrawn"}
    vote = "" if row.thumb is None else signs[row.thumb]
    comment = "" if not row.comment else f'<span class="q-comment" dir="auto">{escaped(row.comment if reads_texts else HIDDEN)}</span>'
    return f"{vote} {comment}".strip() or words.NOTHING


def _trial_notes(row: TrialRow) -> str:
    notes = []
    if row.failure is not None:
        notes.append(badge("bad", "✕", row.failure))
    if row.abstained:
        notes.append(badge("open", "?", "abstained"))
    if row.reason != "split":
        notes.append(f'<span class="rt-muted">not counted: {escaped(row.reason)}</span>')
    if row.unscored:
        notes.append(f'<span class="rt-muted">{escaped(_unscored(row.unscored))}</span>')
    return " ".join(notes)


def _unscored(found: Sequence[tuple[str, str]]) -> str:
    by_reason: dict[str, list[str]] = {}
    for metric, reason in found:
        by_reason.setdefault(reason, []).append(metric)
    return "; ".join(f"{', '.join(metrics)}: {reason}" for reason, metrics in by_reason.items())


def trail(given: str) -> tuple[int, ...]:
    """The numbers behind which the older pages of live trials began, one after the other, as an address holds them: `900.850.800`.

    The last one is of the page that is shown, so that the one before it leads back.
    """
    return tuple(int(part) for part in given.split(".") if part.isdecimal() and len(part) <= LONGEST_NUMBER)


def towards(numbers: Sequence[int]) -> dict[str, str]:
    """The same for an address; nothing for the newest page."""
    return {"before": ".".join(map(str, numbers))} if numbers else {}


def query_address(evaluation_id: str, row: QueryOutcome, *, at: int, **view: str) -> str:
    """The address of a query's page, with the view that it was opened from and its place there."""
    return address("query", evaluation=evaluation_id, query=row.query_id, at=str(at), **view)
