"""RAGAS' numbers by hand, against a scripted server: what is asked, how often, and what comes of it."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragtrial.domain.metric import metric_named
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import InputError, MissingExtraError, SetupError
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import Endpoint, Sampling
from ragtrial.llm.gate import Gate, Limits
from ragtrial.scoring.ragas import RagasScorer, calls_per_sample, check_ragas
from scripted_llm import Reply, ScriptedLlm, sensible, user_text
from unit.scoring.ragas_parts import (
    EAST,
    GOLD,
    LLM,
    PASSAGES,
    PRICES,
    Planted,
    one,
    saying,
    scorer_of,
    statements,
    trial_of,
    verdicts,
)

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ragas") is None, reason="ragas is not installed: pip install 'ragtrial[ragas]'")


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    with ScriptedLlm(lambda asked, _number: sensible(asked)) as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CallCache]:
    with CallCache(tmp_path / "calls", first_map_bytes=1 << 24) as kept:
        yield kept


@pytest.fixture
def gate(cache: CallCache) -> Iterator[Gate]:
    with Gate(Limits(attempts=2, backoff_s=0.001, timeout_s=30), prices=PRICES, cache=cache) as opened:
        yield opened


# ---- the numbers


def test_faithfulness_is_the_share_of_supported_statements_with_its_calls_tokens_and_reasons(gate: Gate, llm: ScriptedLlm):
    llm.script = saying(StatementGeneratorOutput=statements("a", "b", "c"), NLIStatementOutput=verdicts((1, 0, 1)))
    score = one(scorer_of(gate, llm, "faithfulness"), trial_of())
    assert score.value == pytest.approx(2 / 3)
    (opinion,) = score.opinions
    assert (opinion.n_calls, opinion.prompt_tokens, opinion.completion_tokens) == (2, 200, 20)
    assert opinion.cost_usd == pytest.approx((200 * 10 + 20 * 100) / 1e6)
    assert opinion.rationale.splitlines() == ["[1] s0: r0", "[0] s1: r1", "[1] s2: r2"]
    assert "passage number2" in user_text(llm.requests[1])
    assert "passage number3" not in user_text(llm.requests[1])


def test_context_precision_is_the_average_precision_of_the_passages_that_are_read(gate: Gate, llm: ScriptedLlm):
    """Useful at ranks 1 and 3 of 3: (1/1 + 2/3) / 2. A fourth passage is not judged."""
    useful = {"number0": 1, "number1": 0, "number2": 1}
    verdict = lambda prompt, _n: {"reason": "r", "verdict": next(v for word, v in useful.items() if word in prompt)}  # noqa: E731
    llm.script = saying(ContextPrecisionOutput=verdict)
    assert one(scorer_of(gate, llm, "context_precision"), trial_of()).value == pytest.approx((1 + 2 / 3) / 2, abs=1e-9)
    assert len(llm.requests) == 3


def test_context_recall_is_the_share_of_the_references_statements_found(gate: Gate, llm: ScriptedLlm):
    parts = [{"statement": "s", "reason": "r", "attributed": found} for found in (1, 0, 1, 1)]
    llm.script = saying(ContextRecallOutput=lambda _prompt, _n: {"classifications": parts})
    assert one(scorer_of(gate, llm, "context_recall"), trial_of()).value == 0.75


def test_factual_correctness_is_f1_over_the_claims_of_both_sides(gate: Gate, llm: ScriptedLlm):
    """Of 2 claims 1 is right, of 3 expected claims 2 are there: precision 1/2; ragas' recall is tp/(tp+fn) = 1/2, so F1 is 0.5."""
    claims = (("a", "b"), ("c", "d", "e"))
    llm.script = saying(
        ClaimDecompositionOutput=lambda _prompt, n: {"claims": list(claims[n])}, NLIStatementOutput=verdicts((1, 0), (1, 1, 0))
    )
    assert one(scorer_of(gate, llm, "factual_correctness"), trial_of()).value == 0.5


def test_answer_accuracy_is_the_mean_of_its_two_judges(gate: Gate, llm: ScriptedLlm):
    llm.script = saying(AnswerAccuracyOutput=lambda _prompt, n: {"rating": (4, 2)[n]})
    assert one(scorer_of(gate, llm, "answer_accuracy"), trial_of()).value == 0.75


def test_answer_relevancy_is_the_mean_cosine_of_three_questions_drawn_apart(gate: Gate, llm: ScriptedLlm):
    """Cosines with the query 1, 0.6 and 0; the three draws put one prompt, and are not answered by one cached completion."""
    llm.script = saying(AnswerRelevanceOutput=lambda _prompt, n: {"question": ("east", "north-east", "north")[n], "noncommittal": 0})
    score = one(scorer_of(gate, llm, "answer_relevancy"), trial_of())
    assert score.value == pytest.approx(1.6 / 3)
    assert len(llm.requests) == score.opinions[0].n_calls == 3
    assert {kind for kind, _ in EAST.asked} == {"query"}


@pytest.mark.parametrize(("question", "noncommittal"), [("east", 1), ("west", 0)])
def test_answer_relevancy_of_an_evasion_or_of_another_question_is_0(gate: Gate, llm: ScriptedLlm, question: str, noncommittal: int):
    llm.script = saying(AnswerRelevanceOutput=lambda _prompt, _n: {"question": question, "noncommittal": noncommittal})
    assert one(scorer_of(gate, llm, "answer_relevancy"), trial_of()).value == 0


def test_metrics_without_an_llm_take_the_best_reference_and_ask_nobody(gate: Gate, llm: ScriptedLlm):
    """Levenshtein: `kitchen` to `kitten` is 2 edits of at most 7 letters, to `sitting` 5."""
    scorer = scorer_of(gate, llm, "ragas_string_similarity", "ragas_rouge", embedder=None)
    ((similarity, rouge), (_, same)) = scorer.score([trial_of(), trial_of("A mouse", query_id="other")], GOLD)
    assert similarity.value == pytest.approx(1 - 2 / 7)
    assert (rouge.value, same.value) == (0, pytest.approx(2 / 3))
    assert not similarity.opinions
    assert not llm.requests


def test_chrf_agrees_with_sacrebleu(gate: Gate, llm: ScriptedLlm):
    sacrebleu = pytest.importorskip("sacrebleu")
    expected = max(sacrebleu.sentence_chrf("kitchen", [each]).score / 100 for each in ("kitten", "sitting"))
    assert one(scorer_of(gate, llm, "ragas_chrf", embedder=None), trial_of()).value == pytest.approx(expected)


@pytest.mark.parametrize("metric", LLM)
def test_no_sample_takes_more_calls_than_were_foretold(gate: Gate, llm: ScriptedLlm, metric: str):
    embedder = Planted({"how early": (1, 0), "as the passage says": (1, 0)})
    score = one(scorer_of(gate, llm, metric, embedder=embedder), trial_of())
    assert score.value is not None
    assert len(llm.requests) == score.opinions[0].n_calls == calls_per_sample(metric, 3)


def test_a_judgment_among_words_and_fences_is_read(gate: Gate, llm: ScriptedLlm):
    llm.script = lambda _asked, _number: Reply(text='Surely:\n```json\n{"rating": "4"}\n```\nAnything else?')
    assert one(scorer_of(gate, llm, "answer_accuracy"), trial_of()).value == 1


def test_a_strict_schema_with_closed_sets_is_asked_for(gate: Gate, llm: ScriptedLlm):
    one(scorer_of(gate, llm, "context_recall"), trial_of())
    schema = llm.requests[0]["response_format"]["json_schema"]["schema"]
    part = schema["$defs"]["ContextRecallClassification"]
    assert schema["additionalProperties"] is part["additionalProperties"] is False
    assert part["required"] == ["statement", "reason", "attributed"]
    assert part["properties"]["attributed"]["enum"] == [0, 1]


# ---- what is asked, how often, and by whom


def test_equal_samples_of_both_arms_are_asked_once_and_have_one_key(gate: Gate, llm: ScriptedLlm):
    rows = scorer_of(gate, llm, *LLM[2:]).score([trial_of(arm="a"), trial_of(arm="b")], GOLD)
    assert rows[0] == rows[1]
    n_shared = sum(score.opinions[0].n_calls for score in rows[0])
    assert len(llm.requests) == n_shared == gate.spending.completions
    (differing,) = scorer_of(gate, llm, "answer_accuracy").score([trial_of("mitten", arm="b")], GOLD)
    assert differing[0].opinions[0].key != rows[0][-1].opinions[0].key


def test_without_a_cache_too_equal_samples_are_asked_once(llm: ScriptedLlm):
    with Gate(Limits(), prices=PRICES) as bare:
        scorer_of(bare, llm, "answer_accuracy").score([trial_of(arm="a"), trial_of(arm="b")], GOLD)
    assert len(llm.requests) == 2


def test_each_repetition_is_asked_anew_and_the_score_is_their_mean(gate: Gate, llm: ScriptedLlm):
    llm.script = saying(AnswerAccuracyOutput=lambda _prompt, n: {"rating": 4 if n < 2 else 0})
    scorer = scorer_of(gate, llm, "answer_accuracy", repetitions={"answer_accuracy": 3})
    score = one(scorer, trial_of())
    assert len(llm.requests) == 6
    assert score.value == pytest.approx(sum(o.value for o in score.opinions if o.value is not None) / 3) == pytest.approx(1 / 3)
    assert [opinion.repetition for opinion in score.opinions] == [0, 1, 2]
    assert len({opinion.key for opinion in score.opinions}) == 3
    assert one(scorer, trial_of()) == score
    assert len(llm.requests) == 6


def test_many_samples_come_back_in_their_order(gate: Gate, llm: ScriptedLlm):
    """The answer that is a number is its own rating."""
    llm.script = lambda asked, number: Reply(
        text=json.dumps({"rating": 4 if '"right"' in user_text(asked) else 0}), delay_s=0.01 * (number % 3)
    )
    trials = [trial_of(("right", f"wrong {i}")[i % 2], arm=str(i), query_id=("q", "other")[i % 3 == 0]) for i in range(30)]
    rows = scorer_of(gate, llm, "answer_accuracy").score(trials, GOLD)
    assert [row[0].value for row in rows] == [float(i % 2 == 0) for i in range(30)]


def test_the_version_changes_with_the_judge_and_not_with_its_key(gate: Gate, llm: ScriptedLlm):
    def version(**more: Any) -> str:
        return scorer_of(gate, llm, "faithfulness", **more).version

    others = [
        version(model="x"),
        version(sampling=Sampling(temperature=1.0)),
        version(context_passages=2),
        version(context_by_arm={"a": 1}),
    ]
    assert version().startswith("ragas/0.4.3 priced ")
    assert len({version(), *others}) == 5
    assert version() == version(context_by_arm={"a": 3, "b": 3})
    assert version(embedder=None) == version()
    assert scorer_of(gate, llm, "answer_relevancy").version != scorer_of(gate, llm, "answer_relevancy", embedder=HashingEmbedder()).version
    keyed = Endpoint(base_url=llm.url + "/", model="priced", api_key="secret")
    same = RagasScorer(
        [metric_named("faithfulness")],
        gate=gate,
        endpoint=keyed,
        sampling=Sampling(),
        passages=PASSAGES,
        context_passages=3,
        repetitions={},
        embedder=EAST,
    )
    assert same.version == version()


# ---- what is asked for wrongly, or not installed


def test_a_wrong_request_is_told_at_once(gate: Gate, llm: ScriptedLlm):
    with pytest.raises(ValueError, match="'answer_f1'"):
        scorer_of(gate, llm, "answer_f1")
    with pytest.raises(ValueError, match="at least 1"):
        scorer_of(gate, llm, "faithfulness", repetitions={"faithfulness": 0})
    with pytest.raises(InputError, match=r"metrics\.similarity"):
        scorer_of(gate, llm, "answer_relevancy", embedder=None)


@pytest.fixture
def without_ragas(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ragas"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ragas", None)


@pytest.mark.usefixtures("without_ragas")
def test_without_ragas_its_metrics_name_the_extra(gate: Gate, llm: ScriptedLlm):
    with pytest.raises(MissingExtraError, match=r"faithfulness .*pip install 'ragtrial\[ragas\]'"):
        scorer_of(gate, llm, "faithfulness")
    assert "pip install 'ragtrial[ragas]'" in str(check_ragas())
    assert calls_per_sample("context_precision", 7) == 7


@pytest.mark.parametrize(
    ("module", "mend"),
    [("langchain_community", r"pip install 'langchain-community<0\.4\.2'"), ("instructor", r"pip install 'ragas==0\.4\.3'")],
)
def test_a_ragas_that_can_not_be_imported_names_what_mends_it(monkeypatch: pytest.MonkeyPatch, module: str, mend: str):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ragas", module)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    said = check_ragas()
    assert said is not None
    with pytest.raises(SetupError, match=mend):
        RagasScorer([metric_named("faithfulness")], **_unused())
    assert "0.4.3" in said


def _unused() -> dict[str, Any]:
    """Arguments that an import error comes before."""
    rest = {"gate": None, "endpoint": None, "sampling": None}
    return {**rest, "passages": {}, "context_passages": 1, "repetitions": {}, "embedder": None}


def test_chrf_without_sacrebleu_names_the_extra(monkeypatch: pytest.MonkeyPatch, gate: Gate, llm: ScriptedLlm):
    real = importlib.util.find_spec
    monkeypatch.setattr("ragtrial.scoring.ragas.find_spec", lambda name: None if name == "sacrebleu" else real(name))
    with pytest.raises(MissingExtraError, match="ragas_chrf needs 'sacrebleu'"):
        scorer_of(gate, llm, "ragas_chrf")
    assert "sacrebleu" in str(check_ragas())


def test_the_module_alone_imports_no_ragas():
    code = "import sys, ragtrial.scoring.ragas; print([n for n in sys.modules if n.partition('.')[0] in ('ragas', 'langchain_core')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ragas_telemetry_is_off(gate: Gate, llm: ScriptedLlm):
    scorer_of(gate, llm, "faithfulness")
    assert os.environ["RAGAS_DO_NOT_TRACK"] == "true"
