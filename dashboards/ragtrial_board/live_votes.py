"""What users of a live experiment say: thumbs by arm, and which answer they prefer."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import get_args

import streamlit as st

from ragtrial.db.live_board_reader import LiveBucket
from ragtrial.domain.live_verdict import VotesFound
from ragtrial.report import live_words, words
from ragtrial.report.drawing import Look, Spec
from ragtrial.report.live_summary import LiveSummary, PreferencesFound
from ragtrial.report.live_time_charts import Measure, shares_now, votes_over_time
from ragtrial_board.frame import chart
from ragtrial_board.live_parts import Seen, buckets_of, part, sentence
from ragtrial_board.saying import escaped
from ragtrial_board.tables import downloads

_FEWEST = 2
"""Stretches of time with votes of which there can be a line."""


def votes(seen: Seen, content: LiveSummary) -> None:
    """Who rates first, what they say second; and what they prefer side by side."""
    analysis = content.analysis
    if analysis.preferred is not None:
        found = analysis.preferred
        title = f"{found.units_for_treatment:,} units prefer custom, {found.units_for_control:,} the baseline"
        said = f"{words.count(found.units_tied, 'unit')} preferred neither. Sign test over units: {words.p_equals(found.sign_p_value)}."
        part("Preferences", title, f"{said} The mean preference per query decides; this stands beside it.")
    if analysis.votes:
        part(
            "Thumbs",
            _who_rates(analysis.votes),
            "Users rate by themselves, so votes are no random sample: they never decide. The answers that asked for a rating at random are the "
            "estimate to trust. Intervals hold at a single look.",
        )
        st.html(_votes_table(analysis.votes, content))
        downloads("thumbs", [votes_row(each) for each in analysis.votes])
        st.html(f'<p class="rt-muted">{escaped(_not_counted(analysis.votes[0]))}</p>')
        _votes_in_time(seen, any(found.who_rates_differs and not found.solicited for found in analysis.votes))
    _side_by_side(content.preferences)


def _who_rates(found: Sequence[VotesFound]) -> str:
    if any(each.who_rates_differs for each in found):
        asked = any(each.solicited and not each.who_rates_differs and each.share is not None for each in found)
        rest = "only answers that asked for a rating can be compared" if asked else "what their votes say must not be compared"
        return f"Users of one arm rate more often: {rest}"
    if not any(sum(each.rated) for each in found):
        return "Nobody has voted yet"
    return "Nothing shows that users of one arm rate more often"


def _not_counted(found: VotesFound) -> str:
    """Votes that were taken back, and those that came too late, by arm."""
    (left, right), (late, later) = found.withdrawn, found.late
    return f"Taken back: {left:,} with the baseline, {right:,} with custom. Too late to count: {late:,} and {later:,}."


def _votes_table(found: Sequence[VotesFound], content: LiveSummary) -> str:
    """The thumbs as a table: what must not be read is struck out."""
    heads = (
        "answers",
        "rated (baseline, custom)",
        "difference in rating",
        "thumbs up among votes",
        "difference",
        "whatever the silent think",
    )
    rows = "".join(f'<tr{_greyed(each)}><th scope="row">{_answers(each)}</th>{_cells(each)}</tr>' for each in found)
    arms = f"baseline: {content.control}, custom: {content.treatment}"
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    table = f'<table class="rt-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="rt-scroll" tabindex="0" role="region" aria-label="Thumbs ({escaped(arms)})">{table}</div>'


def votes_row(found: VotesFound) -> dict[str, object]:
    """The same as numbers; shares are of 0 to 1, and what must not be read is none."""
    row: dict[str, object] = {"answers": _answers(found)}
    for arm, trials, rated, up in zip(("baseline", "custom"), found.trials, found.rated, found.up, strict=True):
        row |= {f"trials, {arm}": trials, f"rated, {arm}": rated, f"thumbs up, {arm}": up}
    share, bounds = None if found.who_rates_differs else found.share, found.bounds
    for name, each in (("difference in rating", found.rating_rate), ("difference in thumbs up", share)):
        ends = (None, None, None) if each is None else (each.estimate, each.low, each.high)
        row |= dict(zip((name, f"{name}, low", f"{name}, high"), ends, strict=True))
    low, high = (None, None) if bounds is None else (bounds.low, bounds.high)
    return {**row, "whatever the silent think, low": low, "whatever the silent think, high": high, "why none": found.reason or ""}


def _greyed(found: VotesFound) -> str:
    return ' class="rt-greyed"' if found.who_rates_differs else ""


def _answers(found: VotesFound) -> str:
    return "asked at random" if found.solicited else "all"


def _cells(found: VotesFound) -> str:
    def cell(said: str, below: str = "") -> str:
        return f"<td>{said}{f'<small>{below}</small>' if below else ''}</td>"

    of = "of {:,}, {:,}"
    rated = cell(live_words.rates(found.rated, found.trials), of.format(*found.trials))
    rate, share, bounds = found.rating_rate, found.share, found.bounds
    rating = cell(words.NOTHING) if rate is None else cell(_points(rate.estimate), f"{100 * rate.low:+.1f} to {100 * rate.high:+.1f}")
    up = cell(live_words.rates(found.up, found.rated), of.format(*found.rated))
    if share is None or bounds is None:
        return f'{rated}{rating}{up}<td colspan="2" class="rt-muted">{escaped(found.reason or "nobody voted")}</td>'
    difference = (
        cell(f"<s>{_points(share.estimate)}</s>", "not to be read")
        if found.who_rates_differs
        else cell(_points(share.estimate), f"{100 * share.low:+.1f} to {100 * share.high:+.1f}")
    )
    return f"{rated}{rating}{up}{difference}{cell(f'{100 * bounds.low:+.1f} to {100 * bounds.high:+.1f} points')}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def _votes_in_time(seen: Seen, greyed: bool) -> None:
    _, found = buckets_of(seen)
    voted = {bucket.start for bucket in found if bucket.up or bucket.down}
    if len(voted) < _FEWEST:
        return
    for cell, measure in zip(st.columns(2, gap="large"), get_args(Measure), strict=True):
        grey = greyed and measure == "up"
        make = partial(_drawn, found=found, arms=seen.arms, names=seen.names, measure=measure, greyed=grey)
        with cell:
            caption = "Everything until each moment; baseline solid with a circle, custom dashed with a square. Intervals of the difference: above."
            now = shares_now(found, arms=seen.arms, names=seen.names, measure=measure)
            chart(f"votes {measure}", make, finding=f"{now}{' (not to be read)' if grey else ''}", caption=caption)


def _drawn(
    look: Look, *, found: Sequence[LiveBucket], arms: tuple[str, str], names: Mapping[str, str], measure: Measure, greyed: bool
) -> Spec:
    return votes_over_time(found, arms=arms, names=names, measure=measure, look=look, greyed=greyed)


def _side_by_side(found: PreferencesFound) -> None:
    """Answers beside each other: which arm people prefer."""
    if not found.comparisons:
        return
    control, treatment = found.preferred
    part("Side by side", f"Custom's answer was preferred {treatment:,} times, the baseline's {control:,} times")
    rest = f"{found.both:,} both, {found.neither:,} neither, {found.withdrawn:,} taken back, {found.open:,} not chosen yet"
    said = f"{words.count(found.comparisons, 'comparison')}, {words.count(found.people, 'person', 'people')} with a preference: {rest}."
    if found.share is not None:
        said += f" Share of custom {found.share:.1%}"
        said += f" [{found.low:.1%}, {found.high:.1%}]." if found.low is not None and found.high is not None else "."
    if found.p_value is not None:
        said += f" Sign test over people: {words.p_equals(found.p_value)}."
    if found.reason is not None:
        said += f" {sentence(found.reason)}."
    st.html(f"<p>{escaped(said)} Exploratory, and at a single look.</p>")
