"""Parts of the verdict page: its head, cards, guardrails and checks, the statistics behind them, and the list of experiments."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import streamlit as st

from ragtrial.domain.verdict import Check
from ragtrial.report import words
from ragtrial.report.listing import Listed
from ragtrial.report.page import CHECK_SIGNS, CHECK_TONES, SIGNS, URGENCY
from ragtrial.report.verdict_words import Card
from ragtrial_board.linking import address
from ragtrial_board.saying import badge, escaped
from ragtrial_board.tables import downloads

GUARD_TONES = {"holds": ("good", "✓"), "broken": ("bad", "✕"), "not shown": ("open", "?")}


def head(
    kicker: str,
    decision: str,
    *,
    tone: str,
    said: str,
    sign: str | None = None,
    next_step: str | None = None,
    sentence: str | None = None,
    caution: str | None = None,
    progress: tuple[int, int] | None = None,
) -> None:
    """What the page is opened for: the decision in a word, a sign and a colour, what it means, and what to do next.

    Args:
        kicker: Of what it is the verdict.
        decision: In a few words.
        tone: Of its colours.
        said: What it means, in plain words.
        sign: For those who don't see colours; default: the tone's.
        next_step: What to do.
        sentence: The evidence, in one sentence.
        caution: What to beware of.
        progress: How many of how many.
    """
    st.set_page_config(page_title=f"{decision} · {kicker}")
    bar = "" if progress is None else f'<progress max="{progress[1]}" value="{progress[0]}" aria-label="{escaped(decision)}"></progress>'
    parts = [
        f'<p class="rt-kicker">{escaped(kicker)}</p>',
        f'<h1><span class="rt-sign" aria-hidden="true">{escaped(sign or SIGNS[tone])}</span>{escaped(decision)}</h1>',
        f'<p class="rt-said">{escaped(said)}</p>{bar}',
        f'<p class="rt-next"><b>Next</b>{escaped(next_step)}</p>' if next_step else "",
        f'<p class="rt-caution">{escaped(caution)}</p>' if caution else "",
        f'<p class="rt-sentence">{escaped(sentence)}</p>' if sentence else "",
    ]
    st.html(f'<div class="rt-verdict rt-{escaped(tone)}">{"".join(parts)}</div>')


def cards(found: Iterable[Card]) -> None:
    """Questions with their answers, beside each other."""
    cells = []
    for card in found:
        lines = "".join(f"<p>{escaped(line)}</p>" for line in card.lines)
        big = f'<p class="rt-big">{escaped(card.big)}</p>'
        cells.append(f'<div class="rt-fact"><p class="rt-ask">{escaped(card.ask)}</p>{big}<div class="rt-lines">{lines}</div></div>')
    st.html(f'<div class="rt-facts">{"".join(cells)}</div>')


def part(title: str, body: str = "") -> None:
    """One part of the page: what it found, and HTML below it."""
    st.html(f'<h2 class="rt-part">{escaped(title)}</h2>{body}')


def guardrails(title: str, found: Sequence[tuple[str, str, str]], numbers: Sequence[Mapping[str, object]]) -> None:
    """Each guardrail: its name, its state, and what was found, in words; `numbers` are what a download holds."""
    rows = "".join(_row(badge(*GUARD_TONES[state], state), name, said) for name, state, said in found)
    part(title, f'<ul class="rt-checks">{rows}</ul>')
    if found:
        downloads("guardrails", numbers)


Named = tuple[Check, str]
"""A check, and what it is about, in words."""


def health(title: str, checks: Sequence[Named]) -> None:
    """The checks as small marks, those that need a look first."""
    marks = [badge(CHECK_TONES[check.state], CHECK_SIGNS[check.state], name) for check, name in _urgent_first(checks)]
    part(title, f'<div class="rt-badges">{"".join(marks)}</div>')


def health_details(checks: Sequence[Named]) -> None:
    """One click behind the marks: what each check found."""
    with fold("checks", "What each check found"):
        rows = [
            _row(badge(CHECK_TONES[check.state], CHECK_SIGNS[check.state], words.STATES[check.state]), name, check.detail)
            for check, name in _urgent_first(checks)
        ]
        st.html(f'<ul class="rt-checks rt-two">{"".join(rows)}</ul>')
        downloads("health checks", [{"check": name, "state": check.state, "what was found": check.detail} for check, name in checks])


def _urgent_first(checks: Sequence[Named]) -> list[Named]:
    return sorted(checks, key=lambda pair: URGENCY.index(pair[0].state))


@contextmanager
def fold(key: str, label: str) -> Iterator[bool]:
    """A part that is folded away until it is asked for: whether it is open stands in the address, and is what this gives."""
    box = st.expander(label, key=key, on_change="rerun", bind="query-params")
    with box:
        yield bool(box.open)


def _row(mark: str, name: str, detail: str) -> str:
    return f'<li><p class="rt-name">{mark} <span>{escaped(name)}</span></p><p class="rt-detail">{escaped(detail)}</p></li>'


def lines(title: str, said: Iterable[str]) -> None:
    """A few lines in small type."""
    part(title, f'<div class="rt-method">{"".join(f"<p>{escaped(line)}</p>" for line in said)}</div>')


def statistics(key: str, rows: Sequence[tuple[str, str]]) -> None:
    """Names and numbers; `key` names the file that is downloaded."""
    cells = "".join(f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(value)}</td></tr>' for name, value in rows)
    st.html(f'<table class="rt-statistics"><tbody>{cells}</tbody></table>')
    downloads(key, [{"name": name, "value": value} for name, value in rows])


def listing(title: str, found: Sequence[Listed], *, here: tuple[str, str] | None) -> None:
    """Everything that was evaluated or served, each with its address.

    Args:
        title: What it lists.
        found: In the order in which they are shown.
        here: Kind and key of the one that the page shows.
    """
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("experiment", "state", "verdict", "primary metric, difference", "started (UTC)")
    )
    rows = "".join(_listed(each, here=here == (each.kind, each.key)) for each in found)
    part(title, f'<table class="rt-list"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>')
    downloads("experiments", [_row_of(each) for each in found])


def _row_of(each: Listed) -> dict[str, str | None]:
    of = {"experiment": each.name, "kind": each.kind, "id": each.key, "state": each.state}
    return {**of, "verdict": each.verdict, "primary metric, difference": each.effect, "started (UTC)": each.at}


def _listed(each: Listed, *, here: bool) -> str:
    href = escaped(address("verdict", **{each.kind: each.key}))
    kind = "live experiment" if each.kind == "live" else "evaluation"
    name = f'<a href="{href}" target="_self">{escaped(each.name)}</a><span class="rt-muted">{kind}{", shown above" if here else ""}</span>'
    verdict = badge(each.tone, each.sign, each.verdict or "no verdict yet")
    cells = (escaped(each.state), verdict, escaped(each.effect or words.NOTHING), escaped(each.at))
    return f'<tr{" class=rt-here" if here else ""}><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
