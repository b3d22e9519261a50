"""Charts and sentences on judges: what they draw and say, and what they don't where nothing is known."""

import dataclasses
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from ragtrial.domain.calibration import Agreement, ArmEstimates, Calibration, Estimate, PlannedWidth
from ragtrial.domain.label import Label
from ragtrial.domain.verdict import JudgeQuality
from ragtrial.report import judge_charts, judge_words
from ragtrial.report.content import ReportContent
from ragtrial.report.drawing import DARK, LIGHT, Look, Spec
from ragtrial.report.summary import Exclusion
from ragtrial.report.svg import svg_of

METRIC = "judge_correctness"
WORDS = ("correct", "partly", "wrong", "abstained")


def about(centre: float, half: float = 0.05) -> Estimate:
    return Estimate(estimate=centre, low=centre - half, high=centre + half)


DRAWN = Agreement(
    selection="random",
    n=60,
    share=about(0.8),
    kappa=about(0.6),
    weighted_kappa=about(0.7),
    why_not=None,
    words=WORDS,
    confusion=((30, 2, 0, 0), (5, 10, 5, 0), (0, 0, 8, 0), (0, 0, 0, 0)),
)
VOLUNTEERED = dataclasses.replace(DRAWN, selection="volunteered", n=12, share=about(0.3), kappa=None, weighted_kappa=None)
FOUND = Calibration(
    metric=METRIC,
    scorer="judge/1 <b>m</b> abcd",
    n_labels=60,
    n_answers=60,
    n_queries=30,
    n_pairs=30,
    n_labellers=2,
    agreements=(DRAWN, VOLUNTEERED),
    bias=ArmEstimates(control=about(0.01), treatment=about(0.11), difference=about(0.1)),
    naive=ArmEstimates(control=about(0.5), treatment=about(0.65), difference=about(0.15)),
    corrected=ArmEstimates(control=about(0.49), treatment=about(0.54), difference=about(0.04)),
    method="paired",
    planned=(PlannedWidth(more_answers=60, half_width=0.04), PlannedWidth(more_answers=240, half_width=0.02)),
)
UNLABELLED = Calibration(metric=METRIC, scorer="judge/1 m abcd", corrected=ArmEstimates(why_not="nobody labelled an answer"))
JUDGE = JudgeQuality(
    metric=METRIC,
    scorer="judge/1 m abcd",
    n_opinions=900,
    n_unscored=3,
    n_repeated=300,
    flipped=0.2,
    flipped_low=0.16,
    flipped_high=0.25,
    noise_share=0.12,
    half_width=0.08,
    half_width_judgments=0.076,
    half_width_queries=0.056,
)
SILENT = JudgeQuality(metric="judge_preference", scorer="j", n_opinions=10, n_unscored=0, why_not="none was judged twice")

CHARTS: dict[str, Callable[[Look], Spec]] = {
    "agreement": lambda look: judge_charts.agreement(FOUND.agreements, level="95%", look=look),
    "confusion": lambda look: judge_charts.confusion(DRAWN, look=look),
    "bias": lambda look: judge_charts.bias(FOUND, control="plain", treatment="fancy", level="95%", look=look),
    "corrected": lambda look: judge_charts.corrected(FOUND, min_effect=0.02, level="95%", look=look),
    "half_widths": lambda look: judge_charts.half_widths(judge_words.plan_rows(FOUND), metric=METRIC, look=look),
    "noise": lambda look: judge_charts.noise([JUDGE, SILENT], look=look),
    "flips": lambda look: judge_charts.flips([JUDGE, SILENT], level="95%", look=look),
}


def text_of(spec: Spec) -> str:
    return " ".join(ET.fromstring(svg_of(spec, prefix="x")).itertext())  # noqa: S314 - our own SVG


@pytest.mark.parametrize("width", [820, 340])
@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_drawn_with_a_text_alternative_and_what_its_axis_counts(name: str, width: int) -> None:
    spec = CHARTS[name](dataclasses.replace(LIGHT, width=width))
    assert len(spec["description"]) > 30
    words = text_of(spec)
    assert "share" in words or "the judge said" in words


@pytest.mark.parametrize("name", CHARTS)
def test_looks_change_colours_and_nothing_else(name: str) -> None:
    light, dark = (svg_of(CHARTS[name](look), prefix="x") for look in (LIGHT, DARK))
    for field in dataclasses.fields(Look):
        if field.name != "width":
            dark = dark.replace(f'"{getattr(DARK, field.name)}"', f'"{getattr(LIGHT, field.name)}"')
    assert light == dark


def test_arms_have_their_colours_and_shapes_and_nothing_else_has() -> None:
    def rows(spec: Spec) -> dict[str, tuple[str, str]]:
        (data,) = [data for data in spec["datasets"].values() if "shape" in data[0]] if "datasets" in spec else [_rows_in(spec)]
        return {row["name"]: (row["colour"], row["shape"]) for row in data}

    found = rows(CHARTS["bias"](LIGHT))
    assert found == {
        "plain": (LIGHT.baseline, "circle"),
        "fancy": (LIGHT.custom, "square"),
        "difference": (LIGHT.ink, "diamond"),
    }
    assert {colour for colour, _ in rows(CHARTS["agreement"](LIGHT)).values()} == {LIGHT.ink}


def _rows_in(spec: Spec) -> list[dict[str, str]]:
    for layer in spec["layer"]:
        found = layer.get("data", {}).get("values", [])
        if found and "shape" in found[0]:
            return found  # type: ignore[no-any-return]  # rows as they were given
    raise AssertionError("no layer holds rows")


@pytest.mark.parametrize("width", [820, 340])
def test_estimates_stand_with_their_intervals_and_n(width: int) -> None:
    look = dataclasses.replace(LIGHT, width=width)
    assert "80% [75%, 85%], n = 60" in text_of(CHARTS["agreement"](look))
    assert "30% [25%, 35%], n = 12" in text_of(CHARTS["agreement"](look))
    assert "+0.1100 [+0.0600, +0.1600]" in text_of(CHARTS["bias"](look))
    assert "20% [16%, 25%], n = 300" in text_of(CHARTS["flips"](look))
    assert "±0.0400" in text_of(CHARTS["half_widths"](look))


def test_the_confusion_says_who_said_what_how_often() -> None:
    said = CHARTS["confusion"](LIGHT)["description"]
    assert "60 labels" in said
    assert "people partly, judge wrong: 5" in said
    assert "abstained" not in said, "what never happened is not read out"
    assert "correct (32)" in text_of(CHARTS["confusion"](LIGHT)), "n of each row stands beside it"


def test_what_is_not_known_is_not_drawn() -> None:
    assert SILENT.metric not in CHARTS["noise"](LIGHT)["description"]
    assert SILENT.metric not in text_of(CHARTS["flips"](LIGHT))
    partial = dataclasses.replace(FOUND, bias=ArmEstimates(treatment=about(0.1), why_not="too few in plain"))
    assert "plain" not in judge_charts.bias(partial, control="plain", treatment="fancy", level="95%", look=LIGHT)["description"]


def test_a_kappa_below_0_is_on_the_axis() -> None:
    odd = dataclasses.replace(DRAWN, kappa=about(-0.4), weighted_kappa=None)
    spec = judge_charts.agreement([odd], level="95%", look=LIGHT)
    domains = [layer["encoding"]["x"]["scale"]["domain"] for layer in spec["layer"] if "scale" in layer.get("encoding", {}).get("x", {})]
    assert domains == [[pytest.approx(-0.45), 1.0]]


def test_the_headline_states_what_was_found() -> None:
    def said(found: Calibration | None, judge: JudgeQuality | None = None) -> str:
        return judge_words.headline(found, judge, treatment="fancy")

    def biased(centre: float) -> Calibration:
        return dataclasses.replace(FOUND, bias=ArmEstimates(difference=about(centre)))

    assert said(FOUND) == "The judge agrees with people on 80% of answers; it flatters fancy by 0.100 [+0.050, +0.150]"
    assert said(biased(-0.1)).endswith("it is harder on fancy by 0.100 [+0.050, +0.150]")
    assert said(biased(0.02)).endswith("whether it favours fancy is open: +0.020 [-0.030, +0.070]")
    assert said(dataclasses.replace(FOUND, bias=ArmEstimates(why_not="x"))).endswith("whether it favours an arm can't be told yet")
    assert said(UNLABELLED) == "Nobody has compared the judge with people"
    assert said(UNLABELLED, JUDGE).endswith("asked again, it changes its mind on 20% of answers")
    pairs = dataclasses.replace(SILENT, n_pairs=40, n_inconsistent=9)
    assert said(None, pairs) == "9 of 40 pairs were decided by the order of the answers, not by the answers"
    assert "people can't be asked about this metric" in said(None, SILENT)


def test_cards_say_why_where_they_have_no_number() -> None:
    agrees, favours, changes = judge_words.cards(FOUND, control="plain", treatment="fancy", level="95%")
    assert agrees[1:] == ("80% of answers", "95% interval 75% to 85%, 60 labels of 2 people. Cohen's kappa 0.60 [0.55, 0.65].")
    assert favours[1] == "+0.1000"
    assert "beyond chance" in favours[2]
    assert changes[1] == "+0.0400"
    assert "+0.1500 [+0.1000, +0.2000] as judged" in changes[2]
    for _, big, why in judge_words.cards(UNLABELLED, control="plain", treatment="fancy", level="95%"):
        assert big == "Not known yet"
        assert why.endswith(".")
    assert "nobody labelled an answer" in judge_words.cards(UNLABELLED, control="a", treatment="b", level="95%")[2][2]


def test_sentences_on_the_correction_follow_the_intervals() -> None:
    def corrected(naive: float, after: float) -> str:
        found = dataclasses.replace(FOUND, naive=ArmEstimates(difference=about(naive)), corrected=ArmEstimates(difference=about(after)))
        return judge_words.correction(found)

    assert corrected(0.15, 0.04) == "What the judge shows does not hold on people's scale"
    assert corrected(0.04, 0.15) == "On people's scale there is a difference that the judge does not show"
    assert corrected(0.15, 0.10) == "People's labels move the difference by -0.0500, and it stays beyond chance"
    assert corrected(0.02, 0.01) == "People's labels move the difference by -0.0100, and it stays open"
    assert "nobody labelled" in judge_words.correction(UNLABELLED)


def test_sentences_on_lenience_confusion_and_noise() -> None:
    assert judge_words.lenience(FOUND, control="plain", treatment="fancy") == "The judge is kinder to fancy by 0.100 than people are"
    harder = dataclasses.replace(FOUND, bias=ArmEstimates(difference=about(-0.1)))
    assert judge_words.lenience(harder, control="plain", treatment="fancy").startswith("The judge is kinder to plain by 0.100")
    wide = dataclasses.replace(FOUND, bias=ArmEstimates(difference=about(0.02)))
    assert judge_words.lenience(wide, control="plain", treatment="fancy") == "No favour is shown; it could be as much as 0.070"
    assert judge_words.confused(DRAWN) == "Most often apart: people say partly, the judge correct (5 of 60)"
    same = dataclasses.replace(DRAWN, confusion=((60, 0), (0, 0)), words=("correct", "wrong"))
    assert judge_words.confused(same) == "People and judge said the same of all 60"
    assert judge_words.wavering(JUDGE) == "12% of the uncertainty of judge_correctness is the judge's wavering"
    assert "can't be told" in judge_words.wavering(SILENT)
    assert judge_words.worth(JUDGE) == "Twice the queries narrow the interval by 30%, twice the judgments by 5%"
    assert "none was judged twice" in judge_words.worth(SILENT)
    assert judge_words.more_labels(FOUND).startswith("60 more answers labelled make the corrected interval ±0.0400 instead of ±0.0500")
    assert judge_words.plan_rows(FOUND) == [("now", pytest.approx(0.05)), ("60 more labelled", 0.04), ("all 240 more labelled", 0.02)]


def test_what_has_no_value_is_counted_by_reason_and_arm(content: ReportContent) -> None:
    left, right = content.control, content.treatment
    rows = [
        Exclusion(metric=METRIC, arm=arm, reason=reason, n=n)
        for arm, reason, n in (
            (right, "judge failed: malformed", 3),
            (left, "abstained", 1),
            (right, "abstained", 4),
            ("bm25", "abstained", 9),
        )
    ]
    counted = dataclasses.replace(content, exclusions=(*rows, Exclusion(metric="nDCG@10", arm=left, reason="no judgment", n=2)))
    found = judge_words.unscored(counted, METRIC)
    assert [(each.reason, each.arm, each.n) for each in found] == [
        ("abstained", left, 1),
        ("abstained", right, 4),
        ("judge failed: malformed", right, 3),
    ]
    assert all(each.of == next(usage.n_trials for usage in content.usage if usage.arm == each.arm) for each in found)
    trials = found[0].of
    title = judge_words.unscored_title(found, METRIC, control=left, treatment=right)
    assert (
        title
        == f"No value of judge_correctness for 1 of {trials} ({1 / trials:.0%}) of {left} and 7 of {trials} ({7 / trials:.0%}) of {right}"
    )
    assert judge_words.unscored_title((), METRIC, control=left, treatment=right) == "Every answer has a value of judge_correctness"


def test_labels_that_came_in_since_are_counted_and_those_of_others_are_not() -> None:
    label = Label(
        evaluation_id="e-1", arm="plain", query_id="q1", metric=METRIC, word="wrong", value=0.0, scorer=FOUND.scorer, selection="random", labeller="a"
    )  # fmt: skip
    mine = [dataclasses.replace(label, query_id=f"q{n}") for n in range(63)]
    others = [
        dataclasses.replace(label, evaluation_id="e-0"),
        dataclasses.replace(label, scorer="judge/1 other abcd"),
        dataclasses.replace(label, selection="volunteered"),
        dataclasses.replace(label, metric="judge_groundedness"),
    ]
    assert judge_words.came_since(FOUND, [*mine, *others], "e-1") == 3
    assert judge_words.came_since(dataclasses.replace(FOUND, n_unused=3), mine, "e-1") == 0
