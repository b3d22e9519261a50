"""Where people labelled answers, every form of report says what that changes."""

import dataclasses
import io
import json

import jsonschema
import pytest
from rich.console import Console

from ragtrial.domain.calibration import Agreement, ArmEstimates, Calibration, Estimate
from ragtrial.domain.verdict import Check
from ragtrial.report.content import ReportContent
from ragtrial.report.html import as_html
from ragtrial.report.json_report import SCHEMA, report_dict
from ragtrial.report.markdown import as_markdown
from ragtrial.report.people import lines
from ragtrial.report.terminal import render_terminal
from ragtrial.report.words import check_name


def about(centre: float) -> Estimate:
    return Estimate(estimate=centre, low=centre - 0.05, high=centre + 0.05)


FOUND = Calibration(
    metric="judge_correctness",
    scorer="judge/1 <b>m</b> abcd",
    n_labels=60,
    n_answers=60,
    n_queries=30,
    n_pairs=30,
    n_labellers=1,
    n_volunteered=1,
    stale=("4 labels of evaluation e-0 are stale: the judge's model was 'a' and is 'b'",),
    agreements=(
        Agreement(
            selection="random",
            n=60,
            share=about(0.8),
            kappa=about(0.6),
            weighted_kappa=None,
            why_not="no error shows",
            words=("correct", "partly", "wrong", "abstained"),
            confusion=((30, 2, 0, 0), (5, 10, 5, 0), (0, 0, 8, 0), (0, 0, 0, 0)),
        ),
    ),
    bias=ArmEstimates(control=about(0.01), treatment=about(0.11), difference=about(0.1)),
    naive=ArmEstimates(control=about(0.5), treatment=about(0.65), difference=about(0.15)),
    corrected=ArmEstimates(control=about(0.49), treatment=about(0.54), difference=about(0.055)),
    method="paired",
)
NOTHING = Calibration(metric="faithfulness", scorer="ragas/1", n_volunteered=3, corrected=ArmEstimates(why_not="nobody labelled an answer"))


@pytest.fixture
def labelled(content: ReportContent) -> ReportContent:
    return dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, calibrations=(FOUND, NOTHING)))


def test_the_json_keeps_to_its_schema_and_holds_both_differences(labelled: ReportContent) -> None:
    report = json.loads(json.dumps(report_dict(labelled)))
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    first, second = report["calibrations"]
    assert first["corrected"]["difference"] == {"estimate": 0.055, "low": pytest.approx(0.005), "high": pytest.approx(0.105)}
    assert first["naive"]["difference"]["estimate"] == 0.15
    assert (second["corrected"]["difference"], second["corrected"]["why_not"]) == (None, "nobody labelled an answer")


def test_page_summary_and_terminal_show_the_corrected_difference_beside_the_judged_one(labelled: ReportContent) -> None:
    out = io.StringIO()
    render_terminal(labelled, Console(file=out, width=130))
    page = as_html(labelled)
    for text in (out.getvalue(), as_markdown(labelled).replace("\\", ""), page):
        flat = " ".join(text.split())
        assert "+0.1500 [+0.1000, +0.2000]" in flat
        assert "+0.0550 [+0.0050, +0.1050]" in flat
        assert "are stale" in flat
        assert "faithfulness: no label of people counts" in flat
    assert "<b>m</b>" not in page
    assert page.count("corrected by people</th>") == 1


def test_the_command_shows_everything_and_says_what_was_not_used() -> None:
    text = "\n".join(lines(FOUND, control="baseline", treatment="custom", level="95%"))
    for part in (
        "60 of 60 answers to 30 queries, 30 of them labelled in both arms",
        "not used: 4 labels of evaluation e-0 are stale",
        "not used: 1 label that came by themselves correct nothing",
        "agreement on 60 labels drawn at random: 80% [75%, 85%] (95% interval)",
        "Cohen's kappa +0.6000",
        "no kappa: no error shows",
        "partly                    5         10          5          0",
        "difference +0.0550 [+0.0050, +0.1050]",
    ):
        assert part in text
    assert "not told: nobody labelled an answer" in "\n".join(lines(NOTHING, control="a", treatment="b", level="95%"))


def test_the_check_has_a_name_in_words() -> None:
    check = Check(name="calibration[judge_correctness]", state="unknown", detail="")
    assert check_name(check.name) == "People agree with the judge (judge_correctness)"
