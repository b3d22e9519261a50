"""Parts of one query's page, as HTML: answers are shown with their marks, every other text of others as it is."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ragtrial.domain.label import LABEL_WORDS
from ragtrial.domain.metric import metric_named
from ragtrial.domain.trial import Answer
from ragtrial.report import words
from ragtrial_board.marked import marked
from ragtrial_board.query_reading import HIDDEN, Asked, Line, Measured, Missing, Place
from ragtrial_board.saying import badge, escaped, plain

_SNIPPET = 200
_LONG = 600
_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd", 21: "21st", 22: "22nd", 23: "23rd"}


def finding(asked: Asked) -> str:
    """What the page shows, in one sentence."""
    failed = [line.label for line in asked.arms if line.trial is not None and line.trial.failure is not None]
    if failed:
        return f"{_start(' and '.join(failed))} failed on this query"
    if asked.relevant is None:
        return _of_unjudged(asked)
    if not asked.relevant:
        return "Nothing is judged relevant for this query"
    if len(asked.arms) != 2:
        return "; ".join(f"{_start(line.label)} finds {_found(line, asked.relevant)}" for line in asked.arms) or "Nothing was asked"
    baseline, custom = asked.arms
    if not baseline.found and not custom.found:
        return f"Neither arm finds {'the' if asked.relevant == 1 else f'any of the {asked.relevant}'} relevant {_passages(asked.relevant)}"
    better, other = (baseline, custom) if baseline.found > custom.found else (custom, baseline)
    if better.found != other.found:
        rest = "none" if not other.found else str(other.found)
        return f"{_start(better.label)} finds {_found(better, asked.relevant)}, {_name(other)} {rest}"
    return _by_rank(baseline, custom)


def _by_rank(baseline: Line, custom: Line) -> str:
    """Both found as many."""
    first, second = baseline.first_relevant or 0, custom.first_relevant or 0
    if first == second:
        return f"Both arms rank a relevant passage {ordinal(first)}"
    better, other = (baseline, custom) if first < second else (custom, baseline)
    return f"{_start(better.label)} ranks a relevant passage {ordinal(min(first, second))}, {_name(other)} {ordinal(max(first, second))}"


def _of_unjudged(asked: Asked) -> str:
    if len(asked.arms) == 2:
        return overlap(asked)
    line = next(iter(asked.arms), None)
    if line is None:
        return "Nothing was asked"
    answer = None if line.trial is None else line.trial.answer
    if answer is None:
        return f"{_start(line.label)} retrieved {words.count(len(line.places), 'passage')}"
    if answer.finish_reason == "abstained":
        return f"{_start(line.label)} abstained over {words.count(len(line.places), 'passage')}"
    return f"{_start(line.label)} answered from {words.count(len(answer.cited), 'passage')}"


def _found(line: Line, relevant: int) -> str:
    return f"{line.found} of {relevant} relevant {_passages(relevant)}"


def _passages(n: int) -> str:
    return "passage" if n == 1 else "passages"


def _name(line: Line) -> str:
    return f"the {line.label}" if line.label == "baseline" else line.label


def _start(text: str) -> str:
    text = f"the {text}" if text == "baseline" else text
    return text[:1].upper() + text[1:]


def ordinal(rank: int) -> str:
    """`1st`, `2nd`, ... ."""
    return _ORDINALS.get(rank) or f"{rank}th"


def question(asked: Asked) -> str:
    """The query as it was asked, its tags and its reference answers."""
    if asked.text is not None:
        size = "q-long" if len(asked.text) > _SNIPPET else ""
        parts = [_folded(asked.text, _LONG, name=f"q-asked {size}")]
    else:
        parts = [
            f'<p class="rt-muted">The query is {HIDDEN if asked.hidden else "not in the log: it keeps only a hash (live.query_text)"}.</p>'
        ]
    tags = "".join(f'<li dir="auto"><span>{escaped(tag)}</span> {escaped(value)}</li>' for tag, value in sorted(asked.tags.items()))
    if tags:
        parts.append(f'<ul class="q-tags" aria-label="Tags">{tags}</ul>')
    for answer in asked.answers:
        parts.append(f'<div class="q-reference"><span class="q-who">Reference answer</span>{marked(answer)}</div>')
    return f'<div class="q-question">{"".join(parts)}</div>'


def answers(asked: Asked) -> str:
    """What each arm answered, from which passages, and what judges made of it; beside each other."""
    return f'<div class="q-wrap"><div class="q-pair">{"".join(_answer(line) for line in asked.arms)}</div></div>'


def _answer(line: Line) -> str:
    trial = line.trial
    body = '<p class="rt-muted">There is no trial of it.</p>'
    if trial is not None and trial.failure is not None:
        failure = trial.failure
        body = f"<p>{badge('bad', '✕', f'failed at {failure.stage}')} {escaped(failure.kind)}</p>{plain(failure.message, name='q-small')}"
    elif trial is not None and trial.answer is None:
        body = '<p class="rt-muted">No answer was asked for.</p>'
    elif trial is not None and trial.answer is not None:
        body = _said(trial.answer, line, shared=trial.answer_shared)
    return f'<section class="q-answer q-{line.tone}"><h3>{_key(line)}</h3>{body}{_judged(line)}</section>'


def _said(answer: Answer, line: Line, *, shared: bool) -> str:
    if answer.finish_reason == "abstained":
        text = f"<p>{badge('open', '?', 'abstained')} Nothing in the passages fitted.</p>"
    else:
        text = marked(answer.text, name="q-text")
    ranks = {place.passage_id: place for place in line.places}
    cited = [_cited(passage_id, ranks.get(passage_id), line) for passage_id in answer.cited]
    cut = " It was cut off at its longest length." if answer.finish_reason == "length" else ""
    both = " Made once for both arms, which retrieved the same." if shared else ""
    made = f'<p class="q-small rt-muted">By {escaped(answer.generator)}.{cut}{both}</p>'
    return text + (f'<p class="q-small">Rests on {", ".join(cited)}.</p>' if cited else "") + made


def _cited(passage_id: str, place: Place | None, line: Line) -> str:
    if place is None:
        return f'<span class="q-id">{escaped(passage_id)}</span>'
    star = " ★ relevant" if (place.grade or 0) > 0 else ""
    return f'<a href="#{line.tone}-{place.rank}">passage {place.rank}{star}</a>'


def _judged(line: Line) -> str:
    """What LLM judges said of the answer; grades of passages are among the scores."""
    about = [each for each in line.said if metric_named(each.metric).kind == "answer"]
    parts = []
    for metric, group in groupby(about, key=lambda each: each.metric):
        rows = []
        for each in group:
            opinion = each.opinion
            value = "" if opinion.value is None else f"{opinion.value:.2f}"
            word = opinion.verdict or value or opinion.unscored or ""
            rows.append(f"<li><b>{escaped(word)}</b>{plain(opinion.rationale, name='q-small') if opinion.rationale else ''}</li>")
        asked = " (people can be asked, too)" if metric in LABEL_WORDS else ""
        parts.append(
            f'<details class="q-judge"><summary>{escaped(metric)}: {_verdicts(line, metric)}</summary><ol>{"".join(rows)}</ol>'
            f'<p class="q-small rt-muted">{words.count(len(rows), "judgment")}{asked}</p></details>'
        )
    return "".join(parts)


def _verdicts(line: Line, metric: str) -> str:
    """The words that judges chose, and the score."""
    found = line.scores.get(metric)
    said = ", ".join(dict.fromkeys(each.opinion.verdict for each in line.said if each.metric == metric and each.opinion.verdict))
    value = words.NOTHING if found is None else found.reason if found.value is None else f"{found.value:.2f}"
    return escaped(f"{said} ({value})" if said else value)


def passages(asked: Asked, *, most: int, chosen: Mapping[str, str]) -> str:
    """Both arms' passages, rank by rank beside each other.

    Args:
        asked: The query.
        most: Ranks that are shown.
        chosen: What passages stand chosen for, by id.
    """
    both = [place.passage_id for place in asked.arms[0].places if place.other is not None] if asked.arms else []
    shared = {passage_id: number for number, passage_id in enumerate(both)}
    columns = []
    for column, line in enumerate(asked.arms, start=1):
        other = asked.arms[2 - column] if len(asked.arms) == 2 else None
        found = f"{line.found} of {asked.relevant} relevant found" if asked.relevant else words.count(len(line.places), "passage")
        items = (
            "".join(
                f'<li style="--r:{place.rank + 1};--c:{column}" id="{line.tone}-{place.rank}" class="{_classes(place, shared)}">'
                f"{_passage(place, asked, other, chosen.get(place.passage_id))}</li>"
                for place in line.places[:most]
            )
            or f'<li class="q-none" style="--r:2;--c:{column}">{_nothing(line)}</li>'
        )
        columns.append(
            f'<section class="q-side q-{line.tone}"><h3 style="--r:1;--c:{column}">{_key(line)} <span class="rt-muted">{escaped(found)}</span></h3>'
            f"<ol>{items}</ol></section>"
        )
    rules = "".join(
        f".q-sides:has(.q-s{n}:hover,.q-s{n}:focus-within) .q-s{n}{{outline:2px solid var(--ink);outline-offset:-1px}}"
        for n in shared.values()
    )
    return f'<style>{rules}</style><div class="q-wrap"><div class="q-sides q-of-{len(asked.arms)}">{"".join(columns)}</div></div>'


def alone(line: Line, asked: Asked) -> str:
    """A line beside the arms: its answer and its passages."""
    items = "".join(f'<li class="{_classes(place, {})}">{_passage(place, asked, None, None)}</li>' for place in line.places[:10])
    return f'<div class="q-wrap">{_answer(line)}<ol class="q-alone">{items}</ol></div>'


def overlap(asked: Asked) -> str:
    """How far the rankings agree, in one sentence."""
    if len(asked.arms) != 2:
        return ""
    shared, deepest = sum(place.other is not None for place in asked.arms[0].places), max(len(line.places) for line in asked.arms)
    if not shared:
        return "The arms have no passage in common"
    same = [place.passage_id for place in asked.arms[0].places] == [place.passage_id for place in asked.arms[1].places]
    if same:
        return "Both arms found the same passages in the same order"
    return f"{shared} of {deepest} passages are in both lists"


def missing_title(asked: Asked) -> str:
    """How many relevant passages an arm did not find."""
    n = len(asked.missing)
    what = f"{n} relevant {_passages(n)}"
    found_by = {each.found_by for each in asked.missing}
    if len(asked.arms) != 2 or len(found_by) != 1:
        return f"{what} that {'one arm or both' if len(asked.arms) == 2 else 'it'} did not find"
    by = next(iter(found_by))
    if not by:
        return f"{what} that neither arm found"
    return f"{what} that {_name(next(line for line in asked.arms if line.label not in by))} did not find"


def _classes(place: Place, shared: Mapping[str, int]) -> str:
    number = f" q-s{shared[place.passage_id]}" if place.passage_id in shared else ""
    return f"q-passage{' q-gold' if (place.grade or 0) > 0 else ''}{number}"


def _nothing(line: Line) -> str:
    return "The search failed." if line.trial is not None and line.trial.ranking is None else "Nothing was retrieved."


def _passage(place: Place, asked: Asked, other: Line | None, chosen: str | None) -> str:
    marks = [graded(place.grade, known=asked.relevant is not None)]
    if place.cited:
        marks.append('<span class="q-mark">cited in the answer</span>')
    if place.team is not None:
        marks.append(f'<span class="q-mark">from {escaped(_teams(place))}</span>')
    if other is not None:
        marks.append(
            f'<a class="q-mark" href="#{other.tone}-{place.other}">also {ordinal(place.other)} in {escaped(other.label)}</a>'
            if place.other is not None
            else f'<span class="q-mark q-only">not in {escaped(other.label)}</span>'
        )
    if chosen is not None:
        marks.append(f'<span class="q-mark">chosen: {escaped(chosen)}</span>')
    title = f'<span class="q-title" dir="auto">{escaped(place.title)}</span>' if place.title else ""
    return (
        f'<p class="q-head"><span class="q-rank">{place.rank}</span>{title}</p><p class="q-marks">{"".join(marks)}</p>{_text(place.text)}'
        f'<p class="q-small rt-muted">similarity {place.similarity:.4f} · <span class="q-id">{escaped(place.passage_id)}</span></p>'
    )


def _teams(place: Place) -> str:
    return {"control": "the baseline's ranking", "treatment": "custom's ranking"}.get(str(place.team), "both rankings")


def graded(grade: int | None, *, known: bool) -> str:
    """What the gold set says of a passage, in a word and a sign."""
    if grade is None:
        return '<span class="q-mark q-open">not judged</span>' if known else ""
    if grade > 0:
        return f'<span class="q-mark q-star"><span aria-hidden="true">★</span> relevant, grade {grade}</span>'
    return '<span class="q-mark">judged not relevant</span>'


def _text(text: str | None) -> str:
    if text is None:
        return '<p class="q-small rt-muted">The log does not keep the text of this passage.</p>'
    return _folded(text, _SNIPPET, name="q-text")


def _folded(text: str, most: int, *, name: str) -> str:
    """The whole text, or its beginning with the rest a click away."""
    flat = " ".join(text.split())
    if len(flat) <= most + 40:
        return plain(text, name=name)
    begun = flat[:most].rsplit(" ", 1)[0]
    return (
        f'<details class="q-full"><summary><div class="q-snip">{plain(f"{begun} …", name=name)}</div>'
        f'<span class="q-more" data-more="Show all {len(text):,} characters" data-less="Show less"></span></summary>{plain(text, name=name)}</details>'
    )


def missing(found: Sequence[Missing], asked: Asked) -> str:
    """Relevant passages that an arm did not find."""
    items = []
    for each in found:
        by = f"found by {each.found_by[0]} only" if each.found_by else f"found by {'neither arm' if len(asked.arms) == 2 else 'nobody'}"
        title = f'<span class="q-title" dir="auto">{escaped(each.title)}</span>' if each.title else ""
        items.append(
            f'<li class="q-passage q-gold"><p class="q-head">{title}</p><p class="q-marks">{graded(each.grade, known=True)}'
            f'<span class="q-mark q-only">{escaped(by)}</span> <span class="q-id q-small rt-muted">{escaped(each.passage_id)}</span></p>'
            f"{_behind(each.text)}</li>"
        )
    return f'<ul class="q-missing">{"".join(items)}</ul>'


def _behind(text: str | None) -> str:
    """A text that is shown when it is asked for."""
    if text is None:
        return _text(None)
    more = f'<span class="q-more" data-more="Show its {len(text):,} characters" data-less="Show less"></span>'
    return f'<details class="q-full"><summary>{more}</summary>{plain(text, name="q-text")}</details>'


def _key(line: Line) -> str:
    return f'<span class="q-key q-{line.tone}" aria-hidden="true"></span>{escaped(line.label)}'


def score_rows(asked: Asked) -> list[dict[str, Any]]:
    """All scores of the arms and the reference lines, a row for each metric; None and a reason where there is no value."""
    lines = (*asked.arms, *asked.references)
    judged = any(line.said for line in asked.arms)
    lacking = any(found.reason for line in lines for found in line.scores.values())
    rows = []
    for name in sorted({metric for line in lines for metric in line.scores}, key=_order):
        metric = metric_named(name)
        row: dict[str, Any] = {"metric": name, "unit": metric.unit}
        for line in lines:
            row[line.label] = _value(line, name)
        if len(asked.arms) == 2:
            baseline, custom = (_value(line, name) for line in asked.arms)
            row["custom minus baseline"] = None if baseline is None or custom is None else custom - baseline
        row["better"] = words.direction(metric).removesuffix(" is better")
        row["n"] = " / ".join(_counted(line.scores.get(name)) for line in asked.arms)
        if judged:
            counts = [sum(each.metric == name for each in line.said) for line in asked.arms]
            row["judgments"] = " / ".join(map(str, counts)) if any(counts) else ""
        if lacking:
            row["why no value"] = _reasons([(line.label, line.scores.get(name)) for line in lines])
        rows.append(row)
    return rows


def _value(line: Line, name: str) -> float | None:
    found = line.scores.get(name)
    return None if found is None else found.value


def _reasons(ends: Sequence[tuple[str, Measured | None]]) -> str:
    """Why trials have no value, once where all lines have the same reason."""
    reasons = {label: found.reason for label, found in ends if found is not None and found.reason is not None}
    if len(reasons) > 1 and len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{label}: {reason}" for label, reason in reasons.items())


def _counted(found: Measured | None) -> str:
    return words.NOTHING if found is None else f"{found.n} of {found.of}"


def _order(name: str) -> tuple[int, str, int]:
    """Retrieval, answers, operation; `R@5` before `R@10`."""
    kinds = ("retrieval", "answer", "operation")
    metric = metric_named(name)
    return (kinds.index(metric.kind) if metric.kind in kinds else len(kinds), name.partition("@")[0], metric.cutoff or 0)
