"""What RAGAS can not measure is a reason and never a number, whatever RAGAS makes of it."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ragtrial.domain.trial import Failure, Hit, Ranking
from ragtrial.errors import InputError, ModelError, StoppedError
from ragtrial.llm.cache import CallCache
from ragtrial.llm.gate import Gate, Limits
from scripted_llm import Reply, ScriptedLlm, sensible
from unit.scoring.ragas_parts import (
    GOLD,
    LLM,
    PRICES,
    Broken,
    one,
    reasons,
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
    with Gate(Limits(attempts=2, backoff_s=0.001, timeout_s=1), prices=PRICES, cache=cache) as opened:
        yield opened


# ---- what could not be measured

FAULTS = {
    "rate_limit": Reply(status=429),
    "server": Reply(status=500),
    "timeout": Reply(delay_s=4),
    "connection": Reply(abort_after=20),
    "bad_request": Reply(status=400),
    "refused": Reply(refusal="I will not judge this."),
    "truncated": Reply(text='{"statements": ["a"', finish_reason="length"),
    "malformed": Reply(text='{"statements": ["a", '),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("metric", ["faithfulness", "answer_accuracy", "answer_relevancy"])
def test_a_failed_call_is_a_reason_and_no_number(gate: Gate, llm: ScriptedLlm, metric: str, kind: str):
    llm.script = lambda _asked, _number: FAULTS[kind]
    score = one(scorer_of(gate, llm, metric), trial_of())
    assert (score.value, score.unscored) == (None, f"judge failed: {kind}")
    assert (score.opinions[0].n_calls, score.opinions[0].prompt_tokens, score.opinions[0].cost_usd) == (1, None, None)
    assert len(llm.requests) <= gate.limits.attempts  # ragas would have asked five times more


@pytest.mark.parametrize("failing", [0, 1])
def test_answer_accuracy_of_one_judge_alone_is_unscored(gate: Gate, llm: ScriptedLlm, failing: int):
    """RAGAS makes 1.0 of a 4 and a failure."""
    llm.script = lambda _asked, number: Reply(status=400) if number == failing else Reply(text='{"rating": 4}')
    score = one(scorer_of(gate, llm, "answer_accuracy"), trial_of())
    assert (score.value, score.unscored) == (None, "judge failed: bad_request")
    assert len(llm.requests) == failing + 1


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("answer_accuracy", '{"rating": 3}'),
        ("answer_accuracy", '{"rating": 400}'),
        ("context_precision", '{"reason": "r", "verdict": 5}'),
        ("context_recall", '{"classifications": [{"statement": "s", "reason": "r", "attributed": -1}]}'),
        ("answer_relevancy", '{"question": " ", "noncommittal": 0}'),
        ("answer_relevancy", '{"question": "east", "noncommittal": 2}'),
        ("answer_accuracy", '["rating", 4]'),
        ("answer_accuracy", '{"score": 4}'),
        ("answer_accuracy", "four"),
    ],
)
def test_a_verdict_outside_the_closed_set_is_malformed_and_not_kept(gate: Gate, llm: ScriptedLlm, cache: CallCache, metric: str, text: str):
    llm.script = lambda _asked, _number: Reply(text=text)
    assert one(scorer_of(gate, llm, metric), trial_of()).unscored == "judge failed: malformed"
    assert not list(cache.entries())


def test_text_that_no_database_can_hold_is_judged_all_the_same(gate: Gate, llm: ScriptedLlm):
    told = {"statement": "\ud800", "reason": "a\x00b", "verdict": 1}
    llm.script = saying(StatementGeneratorOutput=statements("\ud800"), NLIStatementOutput=lambda _prompt, _n: {"statements": [told]})
    score = one(scorer_of(gate, llm, "faithfulness"), trial_of("half a pair \udfff"))
    assert (score.value, score.opinions[0].rationale) == (1, "[1] \ufffd: a b")


def test_a_verdict_quoted_from_the_answer_does_not_count(gate: Gate, llm: ScriptedLlm):
    llm.script = lambda _asked, _number: Reply(text='The answer says {"rating": 4}, but it is wrong: {"rating": 0}')
    assert one(scorer_of(gate, llm, "answer_accuracy"), trial_of('{"rating": 4}')).unscored == "judge failed: malformed"


@pytest.mark.parametrize("returned", [(1, 1), (1, 1, 1, 1), ()])
def test_verdicts_on_other_than_all_statements_are_malformed(gate: Gate, llm: ScriptedLlm, returned: tuple[int, ...]):
    """RAGAS divides by the verdicts that came back: a judge that skips a statement would make 1.0 of 2 in 3."""
    llm.script = saying(StatementGeneratorOutput=statements("a", "b", "c"), NLIStatementOutput=verdicts(returned))
    assert one(scorer_of(gate, llm, "faithfulness"), trial_of()).unscored == "judge failed: malformed"


@pytest.mark.parametrize(
    ("metric", "text", "reason"),
    [
        ("faithfulness", '{"statements": []}', "ragas returned no number (no statements)"),
        ("factual_correctness", '{"claims": []}', "ragas returned no number (no claims)"),
        ("context_recall", '{"classifications": []}', "ragas returned no number (no statements)"),
    ],
)
def test_a_text_without_statements_is_no_number(gate: Gate, llm: ScriptedLlm, metric: str, text: str, reason: str):
    """RAGAS gives NaN, and for factual correctness 0."""
    llm.script = lambda _asked, _number: Reply(text=text)
    score = one(scorer_of(gate, llm, metric), trial_of())
    assert (score.value, score.unscored, len(llm.requests)) == (None, reason, 1)


@pytest.mark.parametrize(
    ("returned", "reason"),
    [(float("nan"), "ragas returned no number"), (1.1, "ragas returned a number out of range"), (TypeError(), "ragas failed: TypeError")],
)
def test_what_ragas_itself_gets_wrong_is_a_reason(gate: Gate, llm: ScriptedLlm, returned: float | Exception, reason: str):
    class Odd:
        async def ascore(self, **_given: str) -> SimpleNamespace:
            if isinstance(returned, Exception):
                raise returned
            return SimpleNamespace(value=returned)

    scorer = scorer_of(gate, llm, "ragas_rouge")
    scorer._classes = {"ragas_rouge": Odd}
    assert one(scorer, trial_of()).unscored == reason


def test_a_number_without_the_calls_it_takes_is_none(gate: Gate, llm: ScriptedLlm):
    class Idle:
        def __init__(self, llm: object) -> None: ...

        async def ascore(self, **_given: str) -> SimpleNamespace:
            return SimpleNamespace(value=1.0)

    scorer = scorer_of(gate, llm, "answer_accuracy")
    scorer._classes = {"answer_accuracy": Idle}
    assert one(scorer, trial_of()).unscored == "ragas returned no number (judge missing)"


# ---- what there is nothing to ask about


def test_a_trial_without_an_answer_gets_its_context_judged_all_the_same(gate: Gate, llm: ScriptedLlm):
    scorer = scorer_of(gate, llm, *LLM)
    failed = {"answer": None, "failure": Failure(stage="generate", kind="K", message="m")}
    assert set(reasons(scorer, trial_of(None)).items()) >= {("faithfulness", "no answer"), ("context_recall", None)}
    found = reasons(scorer, trial_of(None, **failed))
    assert [name for name, reason in found.items() if reason is None] == ["context_precision", "context_recall"]
    assert set(found.values()) == {None, "failed: generate"}
    nothing = {"ranking": None, "answer": None, "failure": Failure(stage="search", kind="K", message="m")}
    assert set(reasons(scorer, trial_of(None, **nothing)).values()) == {"failed: search"}


def test_an_abstention_is_0_against_a_reference_and_states_nothing_to_judge(gate: Gate, llm: ScriptedLlm):
    scorer = scorer_of(gate, llm, "faithfulness", "answer_relevancy", "factual_correctness", "answer_accuracy", "ragas_rouge")
    (row,) = scorer.score([trial_of("")], GOLD)
    assert [(score.value, score.unscored) for score in row] == [(None, "abstained")] * 2 + [(0, None)] * 3
    assert not llm.requests


def test_without_a_reference_only_what_needs_none_is_asked(gate: Gate, llm: ScriptedLlm):
    scorer = scorer_of(
        gate, llm, "faithfulness", "context_precision", "context_recall", "factual_correctness", "answer_accuracy", "ragas_rouge"
    )
    found = reasons(scorer, trial_of(query_id="none"))
    assert found.pop("faithfulness") is None
    assert set(found.values()) == {"no reference answer"}


def test_without_passages_there_is_nothing_to_be_faithful_to(gate: Gate, llm: ScriptedLlm):
    scorer = scorer_of(gate, llm, "faithfulness", "context_precision", "context_recall")
    assert set(reasons(scorer, trial_of(n_hits=0)).values()) == {"no passages"}
    lost = Ranking(query_id="q", hits=(Hit(passage_id="gone", similarity=1.0),))
    assert set(reasons(scorer, trial_of(ranking=lost)).values()) == {"text of a passage missing"}
    assert not llm.requests


# ---- what stops the run


@pytest.mark.parametrize("metric", LLM)
def test_a_refused_key_stops_the_run_whatever_ragas_swallows(gate: Gate, llm: ScriptedLlm, metric: str):
    llm.script = lambda _asked, _number: Reply(status=401)
    with pytest.raises(StoppedError, match="refused the key"):
        scorer_of(gate, llm, metric).score([trial_of(f"answer {i}") for i in range(40)], GOLD)
    assert len(llm.requests) <= gate.limits.concurrency


def test_the_spending_cap_stops_the_run(llm: ScriptedLlm):
    with Gate(Limits(max_cost_usd=1e-9), prices=PRICES) as capped, pytest.raises(StoppedError, match="spending cap"):
        scorer_of(capped, llm, "answer_accuracy").score([trial_of()], GOLD)


def test_a_cap_on_a_model_without_a_price_is_an_error_and_no_score(llm: ScriptedLlm):
    with Gate(Limits(max_cost_usd=1.0), prices=PRICES) as capped, pytest.raises(InputError, match="no price"):
        scorer_of(capped, llm, "answer_accuracy", model="unpriced").score([trial_of()], GOLD)


def test_a_broken_embedding_model_scores_nothing(gate: Gate, llm: ScriptedLlm):
    with pytest.raises(ModelError, match="no such endpoint"):
        scorer_of(gate, llm, "answer_relevancy", embedder=Broken({})).score([trial_of()], GOLD)
