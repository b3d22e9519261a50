"""How numbers are written, and how data is kept from being taken for commands."""

import dataclasses
import io
import re

import pytest
from rich.console import Console

from ragtrial.analysis.comparing import adjusted
from ragtrial.domain.metric import metric_named
from ragtrial.report import words
from ragtrial.report.content import ReportContent
from ragtrial.report.markdown import as_markdown, text
from ragtrial.report.terminal import render_terminal
from unit.report import samples

SHARE, MS, USD = metric_named("nDCG@10"), metric_named("latency_ms"), metric_named("cost_usd")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.number(0.46804, SHARE), "0.4680"),
        (words.number(12.3456, MS), "12.35 ms"),
        (words.number(None, SHARE), words.NOTHING),
        (words.number(float("nan"), SHARE), words.NOTHING),
        (words.signed(-0.05, SHARE), "-0.0500"),
        (words.signed(-2.5, MS), "-2.5 ms"),
        (words.signed(0.00012, USD), "+0.000120 USD"),
        (words.p_value(0.0004), "< 0.001"),
        (words.p_value(0.0456), "0.046"),
        (words.p_equals(0.0456), "p = 0.046"),
        (words.p_value(None), words.NOTHING),
        (words.milliseconds(0.9), "0.900 ms"),
        (words.milliseconds(1234.5), "1,234 ms"),
        (words.size(999), "999 bytes"),
        (words.size(460_800), "461 kB"),
        (words.size(8_300_000), "8.3 MB"),
        (words.share(3, 0), "3 of 0"),
        (words.share(146, 150), "146 of 150 (97%)"),
        (words.count(1, "query", "queries"), "1 query"),
        (words.check_name("ann_recall[custom]"), "Index finds what exact search finds (custom)"),
        (words.check_name("something_new"), "something new"),
        (words.without_credentials("a http://ann:pw@host/v1 b"), "a http://***@host/v1 b"),
        (words.plain("a\x1b[31mb\x00\ud800"), "a\ufffd[31mb\ufffd\ufffd"),
    ],
)
def test_it_is_written_so(written: str, expected: str) -> None:
    assert written == expected


def test_data_carries_out_no_markdown() -> None:
    written = text("a | b\n# c <img src=x> ![d](http://e) `f` *g*")
    assert written == r"a \| b \# c &lt;img src=x&gt; !\[d\](http://e) \`f\` \*g\*"


def test_every_table_of_the_markdown_has_as_many_cells_in_each_row(content: ReportContent) -> None:
    for block in as_markdown(content).split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("| "):
            assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def _printed(content: ReportContent, width: int, **options: object) -> str:
    out = io.StringIO()
    render_terminal(content, Console(file=out, width=width, highlight=False, **options))  # type: ignore[arg-type]  # forwarded by keyword
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 130, 200])
def test_the_terminal_ends_with_the_verdict_and_keeps_to_its_width(width: int, content: ReportContent) -> None:
    printed = _printed(content, width)
    assert max(map(len, printed.splitlines())) <= width
    assert " ".join(printed.split()).endswith(content.analysis.verdict.sentence)
    assert re.search(r"\+0\.1452 (< 0\.001 146/150 *\n  0\.4732 -> 0\.6184 +)?\[\+0\.0935, \+0\.1969\]", printed)


def test_without_colour_nothing_is_lost(content: ReportContent) -> None:
    coloured = _printed(content, 130, force_terminal=True, color_system="standard", no_color=False)
    bare = _printed(content, 130, force_terminal=True, color_system="standard", no_color=True)
    assert "\x1b[32m" in coloured
    assert "\x1b[32m" not in bare
    for word in ("pass", "warning", "holds", "gate 'adopt' holds"):
        assert word in bare


def test_data_gives_the_terminal_no_commands(content: ReportContent) -> None:
    made = samples.Sample(n=110, same=False, parity=True, repetitions=1, guardrail=0.25, lift=0.45)
    made.evaluation.checks["leakage"] = ("fail", "as in '\x1b]0;owned\x07 [bold]x[/bold]'")  # type: ignore[index]  # a dict in tests
    printed = _printed(made.content(), 130)
    assert "\x1b" not in printed
    assert "[bold]x[/bold]" in printed


def with_p(content: ReportContent, primary: float, others: float) -> ReportContent:
    """The same result with these p values, as the analysis corrects them."""
    found = list(content.analysis.comparisons)
    for place, each in enumerate(found):
        if each.effect is not None and each.role in ("primary", "secondary"):
            p = primary if each.role == "primary" else others
            found[place] = dataclasses.replace(each, effect=dataclasses.replace(each.effect, p_value=p))
    comparisons = adjusted(found, content.experiment.analysis)
    return dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, comparisons=comparisons))


def shown(content: ReportContent) -> dict[str, int]:
    alpha = content.experiment.analysis.alpha
    return {role: words.beyond_chance(next(c for c in content.analysis.comparisons if c.role == role), alpha=alpha) for role in ROLES}


ROLES = ("primary", "secondary")


@pytest.mark.parametrize("width", [58, 64, 80, 100, 116, 130])
def test_in_a_terminal_every_metric_stands_whole_with_its_numbers(width: int, content: ReportContent) -> None:
    out = io.StringIO()
    render_terminal(content, Console(file=out, width=width))
    for comparison in content.analysis.comparisons:
        name, scored = comparison.metric.name, f"{comparison.n_scored}/{comparison.n}"
        row = next(line for line in out.getvalue().splitlines() if line.startswith(f"{name} "))
        assert row.rstrip().endswith(scored)


@pytest.mark.parametrize("width", [80, 160])
def test_beside_the_primary_metric_s_p_stands_no_larger_one(width: int, content: ReportContent) -> None:
    given = with_p(content, 0.028, 0.03)  # Holm among five secondary metrics: 0.15; with the primary among them it was 0.168
    out = io.StringIO()
    render_terminal(given, Console(file=out, width=width))
    row = next(line for line in out.getvalue().splitlines() if line.startswith("nDCG@10"))
    assert "0.028" in row
    assert "0.168" not in out.getvalue()
    assert ("decides" in row) == (width == 160)
    assert "the primary metric decides alone" in " ".join(out.getvalue().split())
    assert shown(given) == {"primary": 1, "secondary": 0}
    assert "| decides alone |" in as_markdown(given)


def test_a_secondary_metric_counts_only_where_the_primary_one_is_shown(content: ReportContent) -> None:
    assert shown(with_p(content, 0.001, 0.001)) == {"primary": 1, "secondary": 1}
    assert shown(with_p(content, 0.06, 0.001)) == {"primary": 0, "secondary": 0}
