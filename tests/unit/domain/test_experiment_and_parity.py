"""The plan is checked before any data are seen; only what it declares may differ between the arms."""

import dataclasses
from typing import Any

import pytest

from ragtrial.domain.experiment import (
    AnalysisPlan,
    Arm,
    ChunkingSpec,
    DataSpec,
    EmbeddingSpec,
    Experiment,
    MetricsPlan,
    RetrievalSpec,
    StoresSpec,
    TrainingSpec,
)
from ragtrial.domain.generation import GenerationSpec, JudgeSpec
from ragtrial.domain.metric import metric_named
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.parity import Conditions, certify
from ragtrial.domain.planned import Guardrail, PrimaryMetric

MODEL = EmbeddingSpec(provider="hashing", model="a")
CONTROL = Arm(name="baseline", role="control", embedding=MODEL)
TREATMENT = Arm(name="custom", role="treatment", embedding=dataclasses.replace(MODEL, model="b"))
PLAN = MetricsPlan(primary=PrimaryMetric(name="nDCG@10"))


def experiment(**changes: Any) -> Experiment:
    return Experiment(**{"name": "e", "data": DataSpec(path="data"), "arms": (CONTROL, TREATMENT), "metrics": PLAN, **changes})


def conditions(**changes: dict[str, str]) -> Conditions:
    aspects = {
        "embedding": {"model": "a@1"},
        "chunking": {"chunking": "none"},
        "retrieval": {"top_k": "10"},
        "generation": {"provider": "extractive"},
        "data": {"corpus": "c1", "gold": "g1"},
    }
    return Conditions(**{**aspects, **changes})


def test_arms_are_found_by_their_role_whatever_their_order() -> None:
    for arms in ((CONTROL, TREATMENT), (TREATMENT, CONTROL)):
        assert experiment(arms=arms).control == CONTROL
        assert experiment(arms=arms).treatment == TREATMENT


@pytest.mark.parametrize(
    "arms",
    [
        (),
        (CONTROL,),
        (CONTROL, CONTROL),
        (CONTROL, dataclasses.replace(CONTROL, name="other")),
        (CONTROL, TREATMENT, dataclasses.replace(TREATMENT, name="third")),
        (CONTROL, dataclasses.replace(TREATMENT, role="reference")),
    ],
)
def test_there_is_one_control_and_one_treatment(arms: tuple[Arm, ...]) -> None:
    with pytest.raises(ValueError, match="give exactly one 'control' and one 'treatment'"):
        experiment(arms=arms)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a b"}, "experiment name 'a b'"),
        ({"name": ""}, "experiment name ''"),
        ({"repetitions": 0}, "repetitions is 0"),
        ({"arms": (CONTROL, dataclasses.replace(TREATMENT, name="baseline"))}, "both arms are called 'baseline'"),
        ({"arms": (CONTROL, dataclasses.replace(TREATMENT, name="bm25"))}, "name of a reference line"),
        ({"retrieval": RetrievalSpec(top_k=5)}, "looks at 10 passages, but arm 'baseline' retrieves 5"),
        ({"arms": (CONTROL, dataclasses.replace(TREATMENT, retrieval=RetrievalSpec(top_k=5)))}, "arm 'custom' retrieves 5"),
    ],
)
def test_an_experiment_that_could_not_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        experiment(**changes)


def test_parts_that_can_not_be_are_refused() -> None:
    with pytest.raises(ValueError, match="arm name 'a/b'"):
        Arm(name="a/b", role="control", embedding=MODEL)
    with pytest.raises(ValueError, match="top_k is 0"):
        RetrievalSpec(top_k=0)
    with pytest.raises(ValueError, match="max_chars is 10"):
        ChunkingSpec(max_chars=10)
    with pytest.raises(ValueError, match="overlap_chars is 800: give 0 to max_chars - 1"):
        ChunkingSpec(overlap_chars=800)
    with pytest.raises(ValueError, match="min_effect is 0"):
        PrimaryMetric(name="nDCG@10", min_effect=0)
    with pytest.raises(ValueError, match="exactly one margin"):
        Guardrail(name="latency_ms")
    with pytest.raises(ValueError, match="exactly one margin"):
        Guardrail(name="latency_ms", max_increase=1.0, max_relative_increase=0.1)
    with pytest.raises(ValueError, match=r"R@5 stands twice"):
        MetricsPlan(primary=PrimaryMetric(name="nDCG@10"), secondary=("R@5", "R@5"))
    with pytest.raises(ValueError, match=r"answer_similarity needs metrics\.similarity"):
        MetricsPlan(primary=PrimaryMetric(name="answer_similarity"))
    with pytest.raises(ValueError, match="resamples is 10"):
        AnalysisPlan(resamples=10)


def test_an_arms_own_retrieval_and_generation_come_before_the_experiments() -> None:
    arm = dataclasses.replace(TREATMENT, retrieval=RetrievalSpec(top_k=20), generation=GenerationSpec(provider="none"))
    made = experiment(arms=(CONTROL, arm))
    assert [made.retrieval_of(a).top_k for a in made.arms] == [10, 20]
    assert [made.generation_of(a).provider for a in made.arms] == ["extractive", "none"]


def test_the_plans_digest_changes_with_the_plan_and_not_with_stores_or_training() -> None:
    plain = experiment().plan_digest()
    elsewhere = experiment(stores=StoresSpec(milvus="http://host:19530"), training=TrainingSpec(data=DataSpec(path="t")))
    assert elsewhere.plan_digest() == plain
    changes: tuple[dict[str, Any], ...] = (
        {"hypothesis": "h"},
        {"data": DataSpec(path="other")},
        {"chunking": ChunkingSpec(strategy="text")},
        {"subject": ("embedding", "retrieval")},
        {"references": ()},
        {"repetitions": 2},
        {"metrics": MetricsPlan(primary=PrimaryMetric(name="nDCG@10", min_effect=0.02))},
        {"analysis": AnalysisPlan(seed=8)},
    )
    assert len({plain, *(experiment(**change).plan_digest() for change in changes)}) == len(changes) + 1


def test_every_metric_is_named_once_the_primary_first() -> None:
    plan = MetricsPlan(
        primary=PrimaryMetric(name="R@5"), secondary=("RR@10",), guardrails=(Guardrail(name="R@5", max_decrease=0.1),), exploratory=("P@5",)
    )
    assert plan.names == ("R@5", "RR@10", "P@5")


@pytest.mark.parametrize(("name", "meant"), [("nDGC@10", "nDCG@10"), ("nDCG@010", "nDCG@10"), ("anser_f1", "answer_f1")])
def test_a_mistyped_metric_is_guessed(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown metric {name!r}: did you mean {meant!r}\? There are"):
        metric_named(name)


@pytest.mark.parametrize("name", ["ndcg@10", "nDCG", "nDCG@0", "nDCG@010", "nDCG@10 ", "F1", "", "nDCG@10@10"])
def test_an_unknown_metric_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown metric .*(: t|\? T)here are nDCG@k.*latency_ms"):
        metric_named(name)


def test_a_metric_knows_what_it_measures_and_what_is_better() -> None:
    assert (metric_named("nDCG@10").measure, metric_named("nDCG@10").cutoff) == ("nDCG", 10)
    assert [metric_named(name).kind for name in ("R@5", "answer_f1", "latency_ms")] == ["retrieval", "answer", "operation"]
    assert [metric_named(name).higher_is_better for name in ("R@5", "abstained", "latency_ms", "cost_usd")] == [True, False, False, False]


def test_models_that_differ_in_anything_have_another_key() -> None:
    one = ModelIdentity(name="m", revision="1", dimension=8)
    others = [
        dataclasses.replace(one, name="n"),
        dataclasses.replace(one, revision="2"),
        dataclasses.replace(one, dimension=16),
        dataclasses.replace(one, settings=("precision=bf16",)),
    ]
    assert len({one.key, *(other.key for other in others)}) == 5
    assert one.key == ModelIdentity(name="m", revision="1", dimension=8).key


def test_arms_that_are_the_same_are_certified_without_any_difference() -> None:
    certificate = certify(conditions(), conditions(), subject=("embedding",))
    assert certificate.ok
    assert certificate.digest is not None
    assert (certificate.declared, certificate.undeclared) == ((), ())


def test_another_embedding_is_declared_and_anything_else_refuses() -> None:
    other_model = conditions(embedding={"model": "b@1"})
    certificate = certify(conditions(), other_model, subject=("embedding",))
    assert certificate.ok
    assert certificate.declared == ("embedding.model: 'a@1' / 'b@1'",)
    more_passages = conditions(embedding={"model": "b@1"}, retrieval={"top_k": "20"})
    refused = certify(conditions(), more_passages, subject=("embedding",))
    assert not refused.ok
    assert refused.digest is None
    assert refused.undeclared == ("retrieval.top_k: '10' / '20'",)
    assert certify(conditions(), more_passages, subject=("embedding", "retrieval")).ok


@pytest.mark.parametrize("aspect", ["data", "chunking"])
def test_data_and_chunking_can_never_be_the_subject(aspect: str) -> None:
    other = conditions(**{aspect: {"corpus": "c2", "gold": "g1", "chunking": "text-1"}})
    assert not certify(conditions(), other, subject=("embedding", "retrieval", "generation")).ok


def test_a_setting_that_only_one_arm_has_is_a_difference() -> None:
    with_prompt = conditions(embedding={"model": "a@1", "query_prompt": "query: "})
    assert certify(conditions(), with_prompt, subject=("embedding",)).declared == ("embedding.query_prompt: None / 'query: '",)


def test_the_certificate_names_what_is_held_equal() -> None:
    one = certify(conditions(), conditions(embedding={"model": "b@1"}), subject=("embedding",))
    same = certify(conditions(), conditions(embedding={"model": "c@1"}), subject=("embedding",))
    other_corpus = {"corpus": "c2", "gold": "g1"}
    moved = certify(conditions(data=other_corpus), conditions(data=other_corpus, embedding={"model": "b@1"}), subject=("embedding",))
    assert one.digest == same.digest
    assert one.digest != moved.digest


def test_an_llms_address_with_a_password_is_refused_without_showing_it() -> None:
    for spec in (GenerationSpec, JudgeSpec):
        with pytest.raises(ValueError, match="api_key_env") as refused:
            spec(**({"provider": "openai-compatible"} if spec is GenerationSpec else {}), model="m", base_url="https://ann:hunter2@host/v1")
        assert "hunter2" not in str(refused.value)


def test_reference_lines_answer_as_the_control_arm_does_and_no_llm_that_was_not_asked_to() -> None:
    llm = GenerationSpec(provider="openai-compatible", model="m")
    arms = tuple(dataclasses.replace(arm, generation=llm) for arm in (CONTROL, TREATMENT))
    assert not experiment(arms=arms).references_answer
    asked = tuple(dataclasses.replace(arm, generation=dataclasses.replace(llm, references="answer")) for arm in arms)
    assert experiment(arms=asked).references_answer
