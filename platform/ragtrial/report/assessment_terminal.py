"""An assessment in a terminal: the recommendation first and once more at the end, where it is seen; between them what it rests on."""

from rich.console import Console
from rich.table import Table

from ragtrial.domain.assessment import Assessment
from ragtrial.report import assessment_words as said
from ragtrial.report.terminal_table import as_text
from ragtrial.report.words import NOTHING

_MOST_GROUPS, _MOST_PAIRS, _MOST_TERMS = 6, 5, 8


def render_assessment(a: Assessment, console: Console) -> None:
    """Print it; nothing is said by colour alone."""
    console.print(as_text(f"{a.experiment}: the baseline {a.model} before any training", "bold"))
    console.print(as_text(a.recommendation.sentence, said.STYLES[a.recommendation.outcome]))
    console.print()
    console.print(_baseline(a))
    console.print(as_text(f"{said.power(a)}."))
    console.print()
    console.print(_headroom(a))
    console.print()
    _failures(a, console)
    console.print()
    for line in said.volume(a):
        console.print(as_text(f"{line}."))
    for what, text in said.costs(a.costs):
        console.print(as_text(f"{what}: {text}."))
    console.print(as_text("elsewhere (no promise):", "dim"))
    for row in a.elsewhere:
        console.print(as_text(f"  {said.elsewhere(row)}", "dim"))
    if a.probe is not None:
        console.print(as_text(f"probe: {said.probe(a.probe)}."))
    console.print()
    found = a.recommendation
    console.print(_rules(a))
    for reason in found.reasons:
        if reason.applies is None:
            console.print(as_text(f"beside the rules: {reason.rule}: {reason.text}", "dim"))
    if found.expected is not None:
        console.print(as_text(found.expected))
    console.print(as_text(found.sentence, said.STYLES[found.outcome]))


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, name in enumerate(names):
        table.add_column(name, justify="left" if place == 0 else "right", overflow="fold", no_wrap=place > 0 or name == "baseline")
    return table


def _rules(a: Assessment) -> Table:
    """In the order in which they are asked: the first that applies decides."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("rule", "here", "the first that applies decides"):
        table.add_column(name, overflow="fold", no_wrap=name == "rule")
    for reason in a.recommendation.reasons:
        if reason.applies is not None:
            style = "bold" if reason.decides else "" if reason.applies else "dim"
            table.add_row(*(as_text(each, style) for each in (reason.rule, said.mark(reason), reason.text)))
    return table


def _baseline(a: Assessment) -> Table:
    table = _table("baseline", "mean", f"{a.level:.0%} interval", "most possible", "queries")
    most = dict(a.ceilings)
    for each in a.baseline:
        table.add_row(as_text(each.name), said.number(each.value), said.interval(each), said.number(most.get(each.name)), f"{each.n:,}")
    return table


def _headroom(a: Assessment) -> Table:
    table = _table("without training", "metric", "mean", "difference from the baseline")
    for option in (*a.options, *a.deeper):
        table.add_row(as_text(option.name), option.metric, said.number(option.mean.value), as_text(said.change(option.difference)))
    return table


def _failures(a: Assessment, console: Console) -> None:
    found = a.failures
    console.print(as_text(f"{said.failing(a)}."))
    if found.n_unjudged:
        console.print(as_text(f"{found.n_unjudged:,} queries have no relevant passage and are left out."))
    if found.no_groups is not None:
        console.print(as_text(f"no groups: {found.no_groups}.", "dim"))
    for group in found.groups[:_MOST_GROUPS]:
        terms = ", ".join(group.terms) or "no word marks it"
        console.print(as_text(f"  group {group.number + 1}: {group.n_failed} failed; {terms}; e.g. {group.example!r}"))
    for part in found.slices[:_MOST_GROUPS]:
        value = NOTHING if part.failing.value is None else f"{part.failing.value:.0%} {said.share_interval(part.failing)}"
        console.print(as_text(f"  {part.tag} {part.value}: {value} of {part.failing.n} fail"))
    for trait in found.traits:
        style = "" if said.direction(trait.difference) else "dim"
        console.print(as_text(f"  {trait.name}: {said.trait(trait)}", style))
    if found.no_traits is not None:
        console.print(as_text(f"  tokens: not compared, {found.no_traits}", "dim"))
    _terms(a, console)


def _terms(a: Assessment, console: Console) -> None:
    found = a.failures
    cut = [f"{term.term} ({term.pieces})" for term in found.split_terms[:_MOST_TERMS] if term.n_failed]
    if cut:
        console.print(as_text(f"  cut into pieces: {', '.join(cut)}"))
    for pair in found.look_alikes[:_MOST_PAIRS]:
        if pair.n_confused >= said.CONFUSED:
            console.print(as_text(f"  look alike: {said.look_alike(pair)}"))
    if found.no_look_alikes is not None:
        console.print(as_text(f"  look-alike terms: {found.no_look_alikes}", "dim"))
