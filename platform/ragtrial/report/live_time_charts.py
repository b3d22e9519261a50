"""Charts of a live experiment in time: its traffic, its guardrails with their stop lines, and its votes by arm."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import altair as alt
from scipy import stats

from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_verdict import Levels, LiveGuardrail, Look, Range
from ragtrial.domain.metric import Metric
from ragtrial.report import live_words, words
from ragtrial.report.drawing import Look as Drawing
from ragtrial.report.drawing import Spec, spec_of, value_axis, values
from ragtrial.report.live_charts import moment, time_axis
from ragtrial.stats.confidence_sequence import half_width

LEFT_OUT = "left out"
"""The band of trials that do not count, whatever the reason."""

FEWEST_VOTES = 10
"""Before so many votes in an arm a share of them is not drawn: it would jump from end to end."""

_APART = (0.07, 0.2)  # of a wide and a narrow axis: names of changes that are nearer to each other would run together
_NAMED = 6

Measure = Literal["rated", "up"]


class Bucket(Protocol):
    """Trials and votes of one stretch of time, by the arm that made them and the reason of the assignment."""

    @property
    def start(self) -> float:
        """Seconds since 1970."""

    @property
    def arm(self) -> str:
        """Who made them."""

    @property
    def reason(self) -> str:
        """Of the assignment; `split` is what counts."""

    @property
    def trials(self) -> int:
        """All of them."""

    @property
    def served(self) -> int:
        """Of them, those that users saw."""

    @property
    def up(self) -> int:
        """Thumbs up."""

    @property
    def down(self) -> int:
        """Thumbs down."""


class Looked(Protocol):
    """A guardrail as it stood at a moment."""

    @property
    def at(self) -> float:
        """Seconds since 1970."""

    @property
    def estimate(self) -> float | None:
        """How much worse the treatment was; None before it could be told."""

    @property
    def low(self) -> float | None:
        """Lower bound."""

    @property
    def high(self) -> float | None:
        """Upper bound."""


def single_looks(looks: Sequence[Look], levels: Levels) -> tuple[Range | None, ...]:
    """What an ordinary interval, made for one look, would have been at each; None where there is none.

    The standard error is read back from the always-valid band, which is that many errors wide (`stats.confidence_sequence`).
    """
    alpha = levels.running + (levels.planned or 0.0)
    z = float(stats.norm.isf(alpha / 2))
    found: list[Range | None] = []
    for look in looks:
        if look.estimate is None or look.high is None:
            found.append(None)
            continue
        errors = float(half_width(look.n_units, float(look.n_units), alpha=levels.running, planned_units=levels.tuned_for))
        half = z * (look.high - look.estimate) / errors
        found.append(Range(low=look.estimate - half, high=look.estimate + half))
    return tuple(found)


def bands_of(buckets: Sequence[Bucket], *, arms: tuple[str, str], names: Mapping[str, str]) -> dict[str, int]:
    """How many trials each band of `traffic_over_time` has, from below: the arms that count, then what is left out.

    Args:
        buckets: Of any width.
        arms: Control and treatment.
        names: What an arm is called.
    """
    counted: dict[str, int] = {}
    for bucket in buckets:
        counted[_band(bucket, names)] = counted.get(_band(bucket, names), 0) + bucket.trials
    first = [names.get(arm, arm) for arm in arms]
    order = [*first, *sorted(set(counted) - {*first, LEFT_OUT}), LEFT_OUT]
    return {name: counted[name] for name in order if name in counted}


def traffic_over_time(
    buckets: Sequence[Bucket],
    changes: Sequence[TrafficState],
    *,
    arms: tuple[str, str],
    names: Mapping[str, str],
    width_s: int,
    look: Drawing,
) -> Spec:
    """Trials in each stretch of time: those of the arms on each other, what does not count on top; changes of the traffic as lines.

    Args:
        buckets: Stretches without any trial are left out.
        changes: The traffic's states; the first one is the plan's.
        arms: Control and treatment.
        names: What an arm is called.
        width_s: Length of a stretch in seconds.
        look: Colours and width.
    """
    bands = bands_of(buckets, arms=arms, names=names)
    order = list(bands)
    rows = _stacked(buckets, order, names, width_s)
    starts = [bucket.start for bucket in buckets]
    begin, end = (min(starts), max(starts) + width_s) if starts else (0.0, 0.0)
    tones = {names.get(arms[0], arms[0]): look.baseline, names.get(arms[1], arms[1]): look.custom, LEFT_OUT: look.zone}
    legend = alt.Legend(title=None, orient="top", symbolType="square", symbolSize=110, values=order)
    colour = alt.Fill("band:N", scale=alt.Scale(domain=order, range=[tones.get(name, look.reference) for name in order]), legend=legend)
    edges = alt.Scale(domain=order, range=[look.muted if name == LEFT_OUT else look.surface for name in order])
    edge = alt.Stroke("band:N", scale=edges, legend=legend)
    x = time_axis(begin, end, look=look, field="begin")
    y = alt.Y("low:Q", title=f"trials in {stretch(width_s)}", axis=value_axis(look))
    bars = alt.Chart(values(rows)).mark_rect(strokeWidth=0.6).encode(x=x, x2="end:T", y=y, y2="high:Q", fill=colour, stroke=edge)
    said = "; ".join(f"{name} {n:,}" for name, n in bands.items()) or "none yet"
    layers = [bars, *_changes([state for state in changes[1:] if begin <= state.at <= end], begin, end, look)]
    return spec_of(alt.layer(*layers), look, height=190, description=f"Trials over time, in stretches of {stretch(width_s)}: {said}.")


def _stacked(buckets: Sequence[Bucket], order: Sequence[str], names: Mapping[str, str], width_s: int) -> list[dict[str, Any]]:
    """A row for each stretch and band, from `low` to `high`, the first band at the bottom."""
    sums: dict[float, dict[str, int]] = {}
    for bucket in buckets:
        bands = sums.setdefault(bucket.start, {})
        bands[_band(bucket, names)] = bands.get(_band(bucket, names), 0) + bucket.trials
    rows = []
    for start in sorted(sums):
        low = 0
        for band in (name for name in order if sums[start].get(name)):
            high = low + sums[start][band]
            rows.append({"begin": moment(start), "end": moment(start + width_s), "band": band, "low": low, "high": high})
            low = high
    return rows


def stretch(width_s: int) -> str:
    """A length of time in words: `5 minutes`, `1 hour`, `2 days`."""
    for seconds, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if width_s >= seconds and width_s % seconds == 0:
            return words.count(width_s // seconds, name)
    return words.count(width_s, "second")


def width_for(span_s: float, *, finest_s: int = 300, bars: int = 60) -> int:
    """The length of a stretch, of those that people read easily, with which a span has at most so many bars."""
    sizes = [finest_s * times for times in (1, 2, 3, 6, 12, 24, 36, 72, 144, 288)]
    return next((size for size in sizes if span_s / size <= bars), 86_400 * max(1, -(-int(span_s) // (86_400 * bars))))


def change_name(state: TrafficState) -> str:
    """A change of the traffic in a word."""
    return "stopped" if state.stopped else f"{100 * state.share:.4g}%"


def _band(bucket: Bucket, names: Mapping[str, str]) -> str:
    return names.get(bucket.arm, bucket.arm) if bucket.reason == "split" else LEFT_OUT


def _changes(states: Sequence[TrafficState], begin: float, end: float, look: Drawing) -> list[Any]:
    """A dotted line for each change, with what holds from then on where there is room for it."""
    layers: list[Any] = []
    last = begin - (end - begin)
    for state in states:
        base, x = alt.Chart(values([{"at": moment(state.at)}])), alt.X("at:T", scale=alt.Scale(type="utc"))
        layers.append(base.mark_rule(color=look.ink, strokeDash=[2, 3]).encode(x=x))
        if len(states) > _NAMED or state.at - last <= _APART[look.narrow] * (end - begin):
            continue
        last, left = state.at, end - state.at > 0.15 * (end - begin)
        name = base.mark_text(align="left" if left else "right", baseline="top", dx=4 if left else -4, fontSize=11, color=look.ink)
        layers.append(name.encode(x=x, y=alt.value(0), text=alt.value(change_name(state))))
    return layers


def guardrail_over_time(metric: Metric, now: LiveGuardrail, looks: Sequence[Looked], *, look: Drawing) -> Spec:
    """How much worse the treatment was at each moment, with its bounds, between no change and the stop line.

    Args:
        metric: What is guarded.
        now: How it stands, with its margin.
        looks: Oldest first; those without an estimate leave a gap.
        look: Colours and width.
    """
    times, unit = _worse_in(metric, now)
    rows: list[dict[str, Any]] = [
        {"at": moment(each.at), "estimate": times * each.estimate, "low": times * each.low, "high": times * each.high}
        for each in looks
        if each.estimate is not None and each.low is not None and each.high is not None
    ]
    margin = times * now.margin
    later = rows[len(rows) // 4 :] or rows
    ends = [0.0, margin, *(end for row in later for end in (row["low"], row["high"]))]
    room = 0.14 * (max(ends) - min(ends))
    domain = [max(min(ends) - room, -3 * margin), min(max(ends) + room, 4 * margin)]
    x = time_axis(looks[0].at, looks[-1].at, look=look) if looks else time_axis(0.0, 0.0, look=look)
    scale = alt.Scale(domain=domain, nice=False, clamp=True)
    y = alt.Y("low:Q", title=f"worse by ({unit})", scale=scale, axis=value_axis(look))
    base = alt.Chart(values(rows))
    layers = [
        alt.Chart(values([{"low": margin, "high": domain[1]}])).mark_rect(color=look.zone).encode(y=y, y2="high:Q"),
        base.mark_area(color=look.custom, opacity=0.16, clip=True).encode(x=x, y=y, y2="high:Q"),
        *_named_level(0.0, "no change", scale, look, dash=False),
        *_named_level(margin, f"stop: {live_words.amount(now.margin, now, metric)}", scale, look, dash=True),
        base.mark_line(color=look.custom, strokeWidth=2.5, clip=True).encode(x=x, y=alt.Y("estimate:Q", scale=scale)),
    ]
    ends_now = (live_words.amount(value, now, metric) for value in (now.estimate, now.low, now.high))
    said = "Guardrail {} over time ({}): now {}, bounds {} and {}, stop line {}.".format(
        metric.name, now.state, *ends_now, live_words.amount(now.margin, now, metric)
    )
    return spec_of(alt.layer(*layers), look, height=150, description=said)


def _worse_in(metric: Metric, found: LiveGuardrail) -> tuple[float, str]:
    """What a guardrail is multiplied with to be read, and its unit."""
    if found.relative:
        return 100.0, "%"
    return (100.0, "points") if metric.unit == "share" else (1.0, words.UNITS.get(metric.unit, metric.unit))


def _named_level(at: float, said: str, scale: Any, look: Drawing, *, dash: bool) -> list[Any]:
    """A horizontal line with its name above its left end, where bands are cut off and lines are rare."""
    base = alt.Chart(values([{"level": at}]))
    y = alt.Y("level:Q", scale=scale)
    name = base.mark_text(align="left", baseline="bottom", dx=4, dy=-3, color=look.ink, fontSize=11)
    return [
        base.mark_rule(color=look.ink, size=1.2, strokeDash=[5, 4] if dash else [1, 0]).encode(y=y),
        name.encode(x=alt.value(0), y=y, text=alt.value(said)),
    ]


def votes_over_time(
    buckets: Sequence[Bucket], *, arms: tuple[str, str], names: Mapping[str, str], measure: Measure, look: Drawing, greyed: bool = False
) -> Spec:
    """A share until each moment, by arm: answers that were rated, or thumbs up among the votes. Only what belongs to the split.

    Args:
        buckets: Of any width.
        arms: Control and treatment.
        names: What an arm is called.
        measure: `rated`: of all answers; `up`: of all votes, from `FEWEST_VOTES` on.
        look: Colours and width.
        greyed: It must not be read: without the arms' colours.
    """
    rows = [row for arm in arms for row in _shares(buckets, arm, names.get(arm, arm), measure)]
    shown = [row for arm in arms for row in [row for row in rows if row["arm"] == names.get(arm, arm)][-1:]]
    order = [names.get(arm, arm) for arm in arms]
    tones = [look.muted, look.muted] if greyed else [look.baseline, look.custom]
    starts = [bucket.start for bucket in buckets]
    x = time_axis(min(starts, default=0.0), max(starts, default=0.0), look=look)
    axis = value_axis(look)
    axis.format = ".0%" if measure == "up" else ".1%"
    highest = max((float(row["share"]) for row in rows), default=0.0) or 1.0
    title = "thumbs up, of votes" if measure == "up" else "rated, of answers"
    scale = alt.Scale(domain=[0, min(1.0, 1.15 * highest)], nice=False)
    y = alt.Y("share:Q", title=title, scale=scale, axis=axis)
    legend = alt.Legend(title=None, orient="top", symbolSize=110, symbolOpacity=1)
    colour = alt.Color("arm:N", scale=alt.Scale(domain=order, range=tones), legend=legend)
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=order, range=["circle", "square"]), legend=legend)
    dash = alt.StrokeDash("arm:N", scale=alt.Scale(domain=order, range=[[1, 0], [6, 3]]), legend=None)
    layers = [
        alt.Chart(values(rows)).mark_line(strokeWidth=2.2, clip=True).encode(x=x, y=y, color=colour, strokeDash=dash),
        alt.Chart(values(shown)).mark_point(filled=True, size=100, opacity=1).encode(x=x, y=y, color=colour, shape=shape),
    ]
    said = shares_now(buckets, arms=arms, names=names, measure=measure)
    refused = " Not to be read: users of one arm rate more often." if greyed else ""
    return spec_of(alt.layer(*layers), look, height=170, description=f"Votes over time, by arm. {said}.{refused}")


def shares_now(buckets: Sequence[Bucket], *, arms: tuple[str, str], names: Mapping[str, str], measure: Measure) -> str:
    """What `votes_over_time` ends with, with its n, in one sentence without a full stop."""
    last = [row for arm in arms for row in _shares(buckets, arm, names.get(arm, arm), measure)[-1:]]
    said = "; ".join(f"{row['arm']} {row['share']:.1%} of {row['n']:,}" for row in last) or "nothing yet"
    return f"{'Thumbs up among the votes' if measure == 'up' else 'Rated answers'}: {said}"


def _shares(buckets: Sequence[Bucket], arm: str, name: str, measure: Measure) -> list[dict[str, Any]]:
    """The share of everything until each stretch, with what it is a share of."""
    part, whole, rows = 0, 0, []
    for bucket in sorted((each for each in buckets if each.arm == arm and each.reason == "split"), key=lambda each: each.start):
        rated = bucket.up + bucket.down
        part += bucket.up if measure == "up" else rated
        whole += rated if measure == "up" else bucket.served
        if whole >= FEWEST_VOTES:
            rows.append({"at": moment(bucket.start), "arm": name, "share": part / whole, "n": whole})
    return rows
