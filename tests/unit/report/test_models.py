"""Models in words and charts."""

import dataclasses
from xml.etree import ElementTree as ET

import pytest

from ragtrial.domain.embedding_map import EmbeddingMap, Plotted
from ragtrial.domain.metric import metric_named
from ragtrial.report import model_charts, model_words
from ragtrial.report.content import ReportContent
from ragtrial.report.drawing import LIGHT
from ragtrial.report.svg import svg_of

CURVE = [{"step": 0, "nDCG@10": 0.5}, {"step": 1, "loss": 0.9}, {"step": 2, "loss": 0.4}, {"step": 2, "nDCG@10": 0.7}]


def a_map(n_topics: int) -> EmbeddingMap:
    points = tuple(Plotted(kind="query", key=f"q{i}", x=i / 50, y=0.1, topic=f"t{i % n_topics}", missed=i % 5 == 0) for i in range(40))
    passage = Plotted(kind="passage", key="p", x=0.0, y=0.0, topic=None)
    made = {"made_at": 0.0, "method": "t-SNE", "trustworthiness": 0.9, "tag": "topic", "n_queries": 80, "n_passages": 9}
    return EmbeddingMap(arm="baseline", points=(*points, passage), **made)


def test_training_is_drawn_from_the_dev_metric_and_the_loss() -> None:
    spec = model_charts.training(CURVE, metric="nDCG@10", look=LIGHT)
    assert spec["description"] == "Training over 2 steps: nDCG@10 from 0.500 to 0.700."
    words = " ".join(ET.fromstring(svg_of(spec, prefix="x")).itertext())  # noqa: S314 - our own SVG
    assert "loss (dashed)" in words
    assert "nDCG@10 on the dev split" in words


def test_a_map_says_how_many_are_missed_and_has_a_colour_for_the_commonest_topics_only() -> None:
    found = a_map(12)
    topics = model_charts.topics_of((found,))
    assert len(topics) == model_charts.MOST_TOPICS
    spec = model_charts.embedding_map(found, topics=topics, look=LIGHT)
    assert spec["description"] == "Map of 40 queries, 8 of them missed by the baseline, and 1 passages as baseline's model sees them."
    words = " ".join(ET.fromstring(svg_of(spec, prefix="x")).itertext())  # noqa: S314 - our own SVG
    assert model_charts.OTHER in words
    assert "40 of 80 queries, 1 of 9 passages" in model_words.map_caption(found)


def test_a_model_of_two_evaluations_is_one_row_with_its_newest_result(content: ReportContent) -> None:
    arms = tuple(
        each if each.lineage is None else dataclasses.replace(each, lineage={**each.lineage, "checksum": "c0"})
        for each in content.evaluation.arms
    )
    newer = dataclasses.replace(content.evaluation, evaluation_id="newer", started_at="2027-01-02T03:04:05+00:00", arms=arms)
    found = model_words.versions([content.evaluation, newer], {"newer": content})
    assert [each.evaluations for each in found] == [2, 2]
    rows = {row["evaluated as"]: row for row in model_words.version_rows(found)}
    assert rows["custom"]["mean"] == content.primary.custom.mean
    assert rows["baseline"]["mean"] == content.primary.baseline.mean
    assert rows["custom"]["last evaluated"] == "2027-01-02 03:04"
    assert rows["baseline"]["verdict"] == ""
    assert "state" not in rows["custom"], "nothing is known of a registry"
    (custom,) = (each for each in found if each.reference)
    now = ("production", "candidate")

    def states(checksum: str) -> dict[str, str]:
        return {row["evaluated as"]: row["state"] for row in model_words.version_rows(found, {(custom.reference, checksum): now})}

    assert states("c0") == {"custom": "production, candidate", "baseline": ""}
    assert states("of another registry's version of this name") == {"custom": "", "baseline": ""}
    said = model_words.versions_finding(found)
    assert f"has the highest mean nDCG@10, {max(row['mean'] for row in rows.values()):.4f} (n = {content.primary.n_scored})" in said


def test_means_of_other_queries_or_of_fewer_or_of_another_metric_are_not_compared(content: ReportContent) -> None:
    def said(**other: object) -> str:
        facts = tuple(
            dataclasses.replace(each, model=each.model and dataclasses.replace(each.model, name=f"old {each.arm}"))
            for each in content.evaluation.arms
        )
        old = dataclasses.replace(
            content.evaluation, evaluation_id="old", arms=facts, gold_fingerprint=other.pop("gold", content.evaluation.gold_fingerprint)
        )
        primary = dataclasses.replace(content.primary, custom=dataclasses.replace(content.primary.custom, mean=0.99), **other)
        comparisons = tuple(primary if each is content.primary else each for each in content.analysis.comparisons)
        then = dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, comparisons=comparisons))
        return model_words.versions_finding(
            model_words.versions([old, content.evaluation], {"old": then, content.evaluation.evaluation_id: content})
        )

    assert said().startswith("old custom@")
    for other in ({"gold": "another"}, {"n_scored": content.primary.n_scored - 1}, {"metric": metric_named("R@10")}):
        assert "old" not in (said(**other) or "")


@pytest.mark.parametrize(("after", "said"), [(0.8, "Training raised"), (0.6, "Training did not raise")])
def test_training_is_told_as_it_went(content: ReportContent, after: float, said: str) -> None:
    facts = next(each for each in content.evaluation.arms if each.role == "treatment")
    lineage = {"dev": {"metric": "nDCG@10", "before": 0.7, "after": after, "n_queries": 50}, "token": None}
    version = model_words.Version(
        facts=dataclasses.replace(facts, lineage=lineage), evaluation=content.evaluation, evaluations=1, summary=None
    )
    assert model_words.training_finding(version).startswith(said)
    nothing = dataclasses.replace(version, facts=dataclasses.replace(facts, lineage={"version": "v1"}))
    assert "was not recorded" in model_words.training_finding(nothing)
