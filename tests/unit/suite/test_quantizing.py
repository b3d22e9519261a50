"""Variants of a tiny model, through real Milvus Lite, exports and the command's own parts."""

import dataclasses
import html
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console
from scipy import stats

import tiny_model
from ragtrial.cli.quantizing import table
from ragtrial.domain.quantization import REFERENCE, Costs, Quantization, Variant, VariantResult, usual_variants, variant_named
from ragtrial.domain.reranking import RerankSpec
from ragtrial.errors import InputError, StoreError
from ragtrial.formats.experiment import load_experiment
from ragtrial.index.milvus import MilvusIndex
from ragtrial.report.pareto import as_dict, sentence
from ragtrial.settings import read_settings
from ragtrial.suite import variant_bench
from ragtrial.suite.preparing import Prepared, prepare
from ragtrial.suite.quantizing import Quantized, paired_scores, plan_of, quantize_and_report

COSTS = Costs(
    query_ratio=1.0, passage_ratio=1.0, query_p50_ms=1.0, passages_per_s=1.0, query_cpu_s=1.0, passage_cpu_s=1.0, vector_bytes=128
)


def plan(**given: object):  # type: ignore[no-untyped-def]
    usual = {"max_loss": 0.2, "metric": "nDCG@5", "by": "bytes", "model": None, "variants": None, "usd_per_cpu_hour": None}
    return plan_of(**{**usual, **given})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("world")
    model, rng = tiny_model.build(folder), np.random.default_rng(0)
    (folder / "data" / "qrels").mkdir(parents=True)
    texts = [" ".join(rng.choice(tiny_model.PASSAGE_WORDS, size=5)) for _ in range(40)]
    lines = [{"_id": f"p{i:02}", "title": "", "text": text} for i, text in enumerate(texts)]
    (folder / "data" / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = [{"_id": f"q{i:02}", "text": " ".join(text.split()[:3])} for i, text in enumerate(texts)]
    (folder / "data" / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    qrels = "query-id\tcorpus-id\tscore\n" + "".join(f"q{i:02}\tp{i:02}\t1\n" for i in range(40))
    (folder / "data" / "qrels" / "test.tsv").write_text(qrels)
    embedding = {"model": str(model)}
    experiment = {
        "name": "tiny",
        "data": {"format": "beir", "path": "data", "split": "test"},
        "arms": [
            {"name": "baseline", "role": "control", "embedding": embedding},
            {"name": "custom", "role": "treatment", "embedding": embedding},
        ],
        "metrics": {"primary": {"name": "nDCG@5"}},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(experiment))
    return prepare(folder / "tiny.yaml", settings=read_settings({}))


@pytest.fixture(scope="module")
def made(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    names = "onnx-fp32,dim4,vectors-int8,vectors-binary,dim999"
    return quantize_and_report(prepared, plan(variants=names), output=tmp_path_factory.mktemp("out"))


def of(made: Quantized, name: str) -> VariantResult:
    return next(result for result in made.found.results if result.variant == variant_named(name))


def test_each_variant_has_a_paired_interval_or_a_reason(made: Quantized) -> None:
    for result in made.found.results:
        assert (result.low is None) == (result.reason is not None)
    same = of(made, "onnx-fp32")
    assert same.identical, "the same numbers up to rounding rank alike"
    assert same.differing == pytest.approx(1 - (0.05 / 4) ** (1 / 40)), "4 variants were measured on 40 queries"
    assert not same.within(0.2), "40 queries can miss one in ten that differs"
    assert "up to 10.4% of such queries that may still differ" in html.unescape(made.page.read_text("utf-8"))
    assert of(made, "dim4").estimate is not None
    failed = of(made, "dim999")
    assert failed.costs is None
    assert "more dimensions than the model has (32)" in str(failed.reason)


def test_intervals_hold_together_and_are_those_of_scipy(made: Quantized, prepared: Prepared) -> None:
    kept = made.page.parent / "variants"
    scores = {path.name.rpartition("-")[0]: json.loads(path.read_text())["scores"] for path in kept.iterdir()}
    differences = np.array(
        [scores["torch-fp32+dim4"][query.query_id] - scores["torch-fp32"][query.query_id] for query in prepared.gold.queries]
    )
    family = made.found.family
    assert family == sum(result.low is not None for result in made.found.results) >= 2
    expected = stats.ttest_1samp(differences, 0).confidence_interval(1 - 0.05 / family)
    result = of(made, "dim4")
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    assert result.plain_low is not None
    assert result.low is not None
    assert result.low < result.plain_low, "several variants are looked at, so each interval is wider"


def test_two_queries_are_timed_too_and_show_nothing(prepared: Prepared, tmp_path: Path) -> None:
    few = prepare(prepared.file.path, settings=read_settings({}), limit=2)
    found = quantize_and_report(few, plan(variants="vectors-int8"), output=tmp_path).found
    (variant,) = found.results
    assert variant.costs is not None
    assert variant.costs.query_p50_ms > 0
    assert found.pick is found.reference


def test_an_arm_that_reranks_is_scored_behind_its_reranker_and_the_page_says_so(prepared: Prepared, tmp_path: Path) -> None:
    plan_of_both = yaml.safe_load(prepared.file.path.read_text())
    rerank = {"provider": "overlap", "model": "words", "candidates": 40}
    plan_of_both["retrieval"] = {"rerank": rerank}
    path = prepared.file.path.with_name("reranked.yaml")
    path.write_text(yaml.safe_dump(plan_of_both))
    made = quantize_and_report(prepare(path, settings=read_settings({})), plan(variants="dim4"), output=tmp_path / "out")
    assert of(made, "dim4").identical, "the reranker reads all 40 passages, so it does not matter in which order they come"
    assert made.found.reference.mean is not None
    assert made.found.reference.mean > 0.9
    assert "reranked by words@overlap" in html.unescape(made.page.read_text("utf-8"))
    written = made.page.with_name("picked.yaml")
    written.write_text(yaml.safe_dump({**plan_of_both, "arms": [plan_of_both["arms"][0], *yaml.safe_load(made.arm)]}))
    experiment = load_experiment(written).experiment
    assert experiment.retrieval_of(experiment.treatment).rerank == RerankSpec(**rerank)


def test_bytes_follow_from_dimensions_and_kind(made: Quantized) -> None:
    found = {result.variant.name: result.costs.vector_bytes for result in made.found.results if result.costs is not None}
    assert found == {"onnx-fp32": 128, "torch-fp32+dim4": 16, "torch-fp32+vectors-int8": 32, "torch-fp32+vectors-binary": 4}


def test_what_was_measured_is_not_measured_again(
    made: Quantized, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(variant_bench.Bench, "_measure", never)
    shutil.copytree(made.page.parent, tmp_path / "out")
    again = quantize_and_report(prepared, plan(variants="dim4,vectors-binary"), output=tmp_path / "out")
    assert [result.mean for result in again.found.results] == [of(made, name).mean for name in ("dim4", "vectors-binary")]
    assert again.found.family == 2


def test_a_variant_is_timed_beside_the_reference_though_another_model_was_measured_since(
    prepared: Prepared, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = str(tiny_model.build(tmp_path_factory.mktemp("other"), seed=1))
    quantize_and_report(prepared, plan(variants="dim8"), output=tmp_path / "one")
    quantize_and_report(prepared, plan(variants="dim8", model=other), output=tmp_path / "two")
    found = quantize_and_report(prepared, plan(variants="vectors-int8"), output=tmp_path / "one").found
    (variant,) = found.results
    assert variant.costs is not None, variant.reason


def test_queries_that_could_not_be_searched_are_no_result_and_are_asked_again(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **_more: object) -> None:
        raise StoreError("gone for a moment")

    quantize_and_report(prepared, plan(variants="dim4"), output=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(MilvusIndex, "search", broken)
        (first,) = quantize_and_report(prepared, plan(variants="dim8"), output=tmp_path).found.results
    assert first.costs is None
    assert "40 of 40 queries could not be searched (gone for a moment)" in str(first.reason)
    (second,) = quantize_and_report(prepared, plan(variants="dim8"), output=tmp_path).found.results
    assert second.n_scored == 40


def test_the_arm_that_is_printed_is_read_and_says_the_pick(made: Quantized, prepared: Prepared, tmp_path: Path) -> None:
    arms = yaml.safe_load(made.arm)
    experiment = yaml.safe_load(prepared.file.path.read_text())
    experiment["arms"] = [experiment["arms"][0], *arms]
    (tmp_path / "deployed.yaml").write_text(yaml.safe_dump(experiment))
    treatment = load_experiment(tmp_path / "deployed.yaml").experiment.treatment
    pick = made.found.pick.variant
    assert (treatment.embedding.backend, treatment.embedding.precision, treatment.embedding.dimensions) == (
        pick.backend,
        pick.precision,
        pick.dimensions,
    )
    assert (treatment.retrieval.index.vectors if treatment.retrieval else "fp32") == pick.vectors


def test_the_page_shows_every_variant_and_needs_no_network(made: Quantized) -> None:
    page = html.unescape(made.page.read_text("utf-8"))
    assert [result.variant.name for result in made.found.results if result.variant.name not in page] == []
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    assert json.loads(json.dumps(as_dict(made.found, arm=made.arm)))["pick"] == made.found.pick.variant.name


def result(name: str, *, low: float | None, mean: float = 0.5, estimate: float = 0.0, **costs: object) -> VariantResult:
    return VariantResult(
        variant=variant_named(name),
        mean=mean,
        estimate=estimate,
        low=low,
        high=None if low is None else 2 * estimate - low,
        n_scored=100,
        n_queries=100,
        excluded={},
        costs=dataclasses.replace(COSTS, **costs),  # type: ignore[arg-type]
    )


def quantization(*results: VariantResult) -> Quantization:
    reference = VariantResult(
        variant=REFERENCE, mean=0.5, n_scored=100, n_queries=100, excluded={}, costs=COSTS, identical=True, differing=0.0
    )
    return Quantization(
        experiment="x",
        model="m",
        metric="nDCG@10",
        max_loss=0.01,
        by="bytes",
        alpha=0.05,
        reference=reference,
        results=results,
        n_passages=10,
        usd_per_cpu_hour=None,
        store="memory",
    )


def test_the_pick_goes_by_the_interval_and_not_by_the_mean() -> None:
    better_mean_but_unsure = result("vectors-binary", low=-0.02, estimate=0.005, mean=0.505, vector_bytes=4)
    sure = result("vectors-int8", low=-0.007, estimate=-0.003, mean=0.497, vector_bytes=32)
    found = quantization(better_mean_but_unsure, sure)
    assert found.pick is sure
    assert "loses less than 0.01 nDCG@10: -0.0030 [-0.0070, +0.0010]" in sentence(found)
    assert not result("dim64", low=-0.01, vector_bytes=1).within(0.01), "a loss of just the margin is not excluded"


def test_where_nothing_is_both_safe_and_cheap_the_reference_stays() -> None:
    found = quantization(result("vectors-binary", low=-0.5, vector_bytes=4), result("onnx-fp32", low=-0.001, vector_bytes=256))
    assert found.pick is found.reference
    assert "stay with torch-fp32" in sentence(found)


def test_equal_scores_count_as_within_on_queries_enough() -> None:
    few, many = (
        dataclasses.replace(result("vectors-int8", low=None, vector_bytes=32), identical=True, differing=share) for share in (0.104, 0.01)
    )
    assert quantization(few).pick is not few
    assert quantization(many).pick is many
    assert "scores the same on every query" in sentence(quantization(many))


def test_the_front_holds_what_no_other_beats_in_both() -> None:
    small, beaten = result("vectors-int8", low=-0.1, mean=0.45, vector_bytes=32), result("dim64", low=-0.1, mean=0.44, vector_bytes=64)
    found = quantization(small, beaten)
    assert [found.on_front(each) for each in (found.reference, small, beaten)] == [True, True, False]


def test_names_of_variants_are_read_back() -> None:
    for variant in usual_variants(384):
        assert variant_named(variant.name) == variant
    assert variant_named("dim128") == Variant(dimensions=128)
    assert all(variant.dimensions is None or variant.dimensions < 128 for variant in usual_variants(128))
    for wrong in ("torch-int8", "onnx-bf16", "dim0", "fast", "vectors-fp64"):
        with pytest.raises(ValueError, match=r"variant '"):
            variant_named(wrong)


def test_a_query_that_one_side_could_not_answer_is_left_out_and_counted(prepared: Prepared) -> None:
    from ragtrial.domain.metric import metric_named

    reference: dict[str, float | str] = {query.query_id: 1.0 for query in prepared.gold.queries}
    scores = paired_scores(prepared, metric_named("nDCG@5"), "dim4", reference, {**reference, "q00": "search failed: gone"})
    assert (scores.n_scored, scores.n_queries) == (39, 40)
    assert scores.excluded == {"dim4: search failed: gone": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_loss": 0.0}, "--max-loss is 0.0"),
        ({"metric": "latency_ms"}, "no retrieval metric"),
        ({"metric": "nonsense"}, "--metric"),
        ({"metric": "nDCG@50"}, "looks at 50 passages"),
    ],
)
def test_what_can_not_be_asked_is_refused(prepared: Prepared, tmp_path: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize_and_report(prepared, plan(**given), output=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_table_cuts_off_nothing_however_narrow_the_terminal_is(width: int) -> None:
    headings, row = (
        ("variant", "metric", "cost"),
        ("openvino-bf16,dim128+vectors-int8 (pick)", "no query has a score, as all failed", "x" * 30),
    )
    out = Console(file=io.StringIO(), width=width)
    table(out, headings, [row])
    said = out.file.getvalue()  # type: ignore[attr-defined]
    assert all(cell in " ".join(said.split()) for cell in row), said
    assert said.startswith("variant ") == (width == 200)
