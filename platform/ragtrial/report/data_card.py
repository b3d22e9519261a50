"""A data card in words, and as one page that needs no script and no network."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import yaml
from markupsafe import Markup

from ragtrial.domain.data_card import DataCard
from ragtrial.domain.pair import SPLITS
from ragtrial.report.drawing import Look, Spec, name_axis, spec_of, value_axis, values
from ragtrial.report.page import rendered
from ragtrial.report.svg import in_two_widths
from ragtrial.report.words import NOTHING, count

Table = tuple[str, tuple[str, ...], Sequence[tuple[str, ...]]]
"""Its heading, the names of its columns, its rows."""

_SHOWN = 25
"""Rows of a table; the rest is counted, and stands in card.json."""

_SHADES = {"train": "baseline", "dev": "reference", "test": "custom"}


def said_of(card: DataCard) -> list[str]:
    """The card in a few sentences, for a terminal."""
    sizes = ", ".join(f"{size.split} {size.documents:,}" for size in card.splits)
    median = card.lengths.quantiles["0.5"]
    lines = [f"{count(card.documents, 'document')} ({sizes}), {median:,} words in the middle one"]
    lines += unread_lines(card)
    for stage in card.stages[1:]:
        lines += [f"dropped: {n:,} {reason}" for reason, n in stage.dropped.items()]
    if card.redaction.done:
        kinds = ", ".join(f"{row.kind} {row.found:,}" for row in card.redaction.kinds) or "nothing found"
        lines.append(f"redacted: {kinds}")
    if card.boilerplate:
        lines.append(f"repeated lines taken out: {len(card.boilerplate):,}, e.g. {card.boilerplate[0][0][:60]!r}")
    return [*lines, leak_sentence(card), *gold_sentences(card), *(f"warning: {warning}" for warning in card.warnings)]


def unread_lines(card: DataCard) -> list[str]:
    """What no document was read from: by reason, with names or kinds as far as the card has them."""
    lines = []
    listed = "" if card.redaction.shows_names else "; named in removed.jsonl"
    for reason, n in card.stages[0].dropped.items():
        found = [each for each in card.unread if each.reason == reason]
        more = n - sum(each.n for each in found)
        lines.append(f"not read: {n:,}: {reason}{listed}")
        lines += [f"  {each.what}" for each in found]
        lines += [f"  ... and {more:,} more" if found else f"  {n:,}, named in removed.jsonl"] if more else []
    return lines


def leak_sentence(card: DataCard) -> str:
    """What was found between splits."""
    leaks = card.leaks
    return (
        f"near-duplicates in different splits: {count(leaks.crossing, 'pair')}; {count(leaks.documents, 'document has', 'documents have')} a "
        f"similarity of {leaks.near:g} or more to another one (a pair just as near is missed with a probability of "
        f"{leaks.miss_probability:.1g}); {count(leaks.groups, 'group')} of documents that belong together"
    )


def gold_sentences(card: DataCard) -> list[str]:
    """What was found against the gold set."""
    gold = card.gold
    if gold is None:
        return []
    became = {"test": "they are in the test split", "drop": "they were dropped", "flag": "they are only flagged"}[gold.rule]
    lines = [
        f"gold set {gold.name} ({count(gold.queries, 'query', 'queries')}): {count(n, 'document')}: {why}"
        for why, n in gold.documents.items()
    ]
    if gold.documents:
        moved = f", with all that belongs to them {gold.moved:,}" if gold.rule == "test" else ""
        lines.append(f"{became}{moved}")
    else:
        lines.append(f"gold set {gold.name} ({count(gold.queries, 'query', 'queries')}): no document touches it")
    if gold.unchecked:
        short = count(gold.unchecked, "gold query has", "gold queries have")
        lines.append(f"{short} fewer than five words: looked for in titles, headings and questions only")
    return lines


def tables_of(card: DataCard) -> list[Table]:
    """All that is counted."""
    stages = [(stage.name, f"{stage.documents:,}", f"{sum(stage.dropped.values()):,}") for stage in card.stages]
    dropped = [(why, stage.name, f"{n:,}") for stage in card.stages for why, n in stage.dropped.items()]
    splits = [
        (size.split, f"{size.documents:,}", f"{size.words:,}", size.first or NOTHING, size.last or NOTHING, f"{size.undated:,}")
        for size in card.splits
    ]
    topics = [
        (
            row.topic or "(none)",
            f"{row.documents:,}",
            f"{row.documents / card.documents:.1%}",
            f"{row.words:,}",
            *(f"{row.splits[split]:,}" for split in SPLITS),
        )
        for row in card.topics
    ]
    lengths = [(_share(share), f"{words:,}") for share, words in card.lengths.quantiles.items()]
    kinds = [(row.kind, f"{row.found:,}", f"{row.documents:,}") for row in card.redaction.kinds]
    return [
        ("Steps", ("step", "documents left", "dropped"), stages),
        ("Dropped", ("why", "at the step", "documents"), dropped),
        ("Not read", ("file" if card.redaction.shows_names else "folder and kind (named in removed.jsonl)", "why"), _unread(card)),
        ("Splits", ("split", "documents", "words", "first day", "last day", "undated"), splits),
        ("Topics", ("topic", "documents", "share", "words", *SPLITS), topics),
        ("Words per document", ("share of documents", "at most so many words"), lengths),
        ("Languages", ("language", "documents"), _counts(card.languages)),
        ("Formats", ("format", "documents"), _counts(card.formats)),
        ("Encodings other than UTF-8", ("encoding", "documents"), _counts(card.encodings)),
        ("Personal data taken out", ("kind", "found", "documents"), kinds),
        ("Repeated lines taken out", ("line", "documents"), [(line, f"{n:,}") for line, n in card.boilerplate]),
        ("Notes", ("note", "count"), _counts(card.notes)),
        ("Digests (SHA-256)", ("of", "digest"), list(card.digests.items())),
        ("Made with", ("package", "version"), list(card.versions.items())),
    ]


def _unread(card: DataCard) -> list[tuple[str, ...]]:
    more = card.n_unread - sum(each.n for each in card.unread)
    rows = [(each.what, each.reason) for each in card.unread]
    return [*rows, *([(f"... and {more:,} more", "see removed.jsonl")] if more else [])]


def _counts(counts: Mapping[str, int]) -> list[tuple[str, ...]]:
    return [(name, f"{n:,}") for name, n in counts.items()]


def _share(share: str) -> str:
    return {"0": "shortest", "0.5": "median", "1": "longest"}.get(share, f"{float(share):.0%}")


def facts_of(card: DataCard) -> list[tuple[str, str]]:
    """What is said once of the whole."""
    redaction = card.redaction
    model = f"names by {redaction.model}" if redaction.model else "names of people and places were not looked for"
    personal = f"looked for ({model})" if redaction.done else "NOT looked for (--no-redact)"
    return [
        ("Sources", ", ".join(card.sources)),
        ("Licence", card.licence or "not stated"),
        ("Documents", f"{card.documents:,}"),
        ("Personal data", personal),
        ("Split by", card.split_by),
    ]


def as_card_markdown(card: DataCard) -> str:
    """The card as Markdown."""
    lines = [f"# Data card: {_plain(card.name)}", ""]
    lines += [f"- {name}: {_plain(said)}" for name, said in facts_of(card)]
    lines += [f"- {_plain(said[0].upper() + said[1:])}" for said in (leak_sentence(card), *gold_sentences(card))]
    if card.warnings:
        lines += ["", "## Before you use it", "", *(f"- {_plain(warning)}" for warning in card.warnings)]
    for heading, columns, rows in tables_of(card):
        if rows:
            lines += ["", f"## {heading}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
            lines += [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in rows[:_SHOWN]]
            lines += [f"\n... and {len(rows) - _SHOWN:,} more in card.json"] if len(rows) > _SHOWN else []
    lines += ["", "## Settings, as a file for --config", "", "```yaml", _settings(card), "```"]
    return "\n".join(lines)


def as_card_html(card: DataCard) -> str:
    """The card as a page."""
    drawn: dict[str, Callable[[Look], Spec]] = {
        "topics": functools.partial(_topics_chart, card),
        "lengths": functools.partial(_lengths_chart, card),
    }
    charts: dict[str, Markup] = {name: in_two_widths(name, lambda look, draw=draw: draw(look=look)) for name, draw in drawn.items()}  # type: ignore[misc]
    return rendered(
        "data_card.html.j2",
        card=card,
        facts=facts_of(card),
        sentences=[leak_sentence(card), *gold_sentences(card)],
        tables=[each for each in tables_of(card) if each[2]],
        shown=_SHOWN,
        charts=charts,
        settings=_settings(card),
    )


def _settings(card: DataCard) -> str:
    """In the form of a `prepare.yaml`."""
    settings = json.loads(json.dumps(card.settings))  # lists for tuples
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120).strip()


def _plain(text: str) -> str:
    """A text of a document must not become Markdown of the card."""
    text = " ".join(text.split()).replace("\\", "\\\\")
    for char in "|<>*_`[]":
        text = text.replace(char, f"\\{char}")
    return text


def _topics_chart(card: DataCard, *, look: Look) -> Spec:
    """Documents of each topic, by split."""
    shown = card.topics[:_SHOWN]
    names = [row.topic or "(none)" for row in shown]
    rows: list[dict[str, Any]] = [
        {"topic": row.topic or "(none)", "split": split, "order": place, "documents": row.splits[split]}
        for row in shown
        for place, split in enumerate(SPLITS)
    ]
    colours = [getattr(look, _SHADES[split]) for split in SPLITS]
    legend = alt.Legend(title=None, orient="top", symbolType="square", symbolSize=120)
    chart = (
        alt.Chart(values(rows))
        .mark_bar(size=16)
        .encode(
            x=alt.X("documents:Q", title="documents", axis=value_axis(look)),
            y=alt.Y("topic:N", sort=names, axis=name_axis(names, look)),
            color=alt.Color("split:N", scale=alt.Scale(domain=list(SPLITS), range=colours), legend=legend),
            order="order:Q",
        )
    )
    largest = shown[0]
    said = f"Documents by topic and split; largest is {largest.topic or 'no topic'} with {largest.documents} of {card.documents}."
    return spec_of(chart, look, height=alt.Step(26), description=said)


def _lengths_chart(card: DataCard, *, look: Look) -> Spec:
    """How many documents are how long."""
    names = [f"{low:,} to {high - 1:,}" for low, high, _ in card.lengths.histogram]
    rows = [{"words": name, "documents": each[2]} for name, each in zip(names, card.lengths.histogram, strict=True)]
    base = alt.Chart(values(rows)).encode(
        y=alt.Y("words:N", sort=names, axis=name_axis(names, look)), x=alt.X("documents:Q", title="documents", axis=value_axis(look))
    )
    bars = base.mark_bar(size=16, color=look.baseline)
    labels = base.mark_text(align="left", dx=5, color=look.muted).encode(text="documents:Q")
    said = f"Words per document: median {card.lengths.quantiles['0.5']}, longest {card.lengths.quantiles['1']}."
    return spec_of(alt.layer(bars, labels), look, height=alt.Step(26), description=said)
