"""The RAGAS scorer keeps what every scorer keeps: the suite of `test_scorer`, against a judge that answers whatever form it is asked for.

Apart from the others because it needs a server and the extra `ragas`.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.test_scorer import (
    GOLD,
    PASSAGES,
    TRIALS,
    test_a_trial_scores_the_same_alone_as_in_company,
    test_a_version_is_a_name_and_a_number,
    test_every_trial_gets_every_metric_in_order_and_in_range,
    test_no_trials_give_no_scores,
    test_reasons_are_a_few_words_that_can_be_counted,
)
from ragtrial.contracts import Scorer
from ragtrial.domain.metric import metric_named
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import Endpoint, Sampling
from ragtrial.llm.gate import Gate, Limits
from ragtrial.llm.prices import read_prices
from ragtrial.scoring.ragas import RagasScorer
from scripted_llm import ScriptedLlm, sensible

__all__ = [
    "test_a_trial_scores_the_same_alone_as_in_company",
    "test_a_version_is_a_name_and_a_number",
    "test_every_trial_gets_every_metric_in_order_and_in_range",
    "test_no_trials_give_no_scores",
    "test_reasons_are_a_few_words_that_can_be_counted",
]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ragas") is None, reason="ragas is not installed: pip install 'ragtrial[ragas]'")

ABOUT_ANSWERS = ("faithfulness", "answer_relevancy", "factual_correctness", "answer_accuracy", "ragas_rouge", "ragas_string_similarity")
ABOUT_CONTEXT = ("context_precision", "context_recall")


@pytest.fixture(params=[True, False], ids=["cached", "not cached"])
def scorer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scorer]:
    cache = CallCache(tmp_path / "calls", first_map_bytes=1 << 24) if request.param else None
    with ScriptedLlm(lambda asked, _number: sensible(asked)) as llm, Gate(Limits(), prices=read_prices(), cache=cache) as gate:
        yield RagasScorer(
            [metric_named(name) for name in (*ABOUT_ANSWERS, *ABOUT_CONTEXT)],
            gate=gate,
            endpoint=Endpoint(base_url=llm.url, model="judge"),
            sampling=Sampling(),
            passages=PASSAGES,
            context_passages=2,
            repetitions={"faithfulness": 2},
            embedder=HashingEmbedder(),
        )
    if cache is not None:
        cache.close()


@pytest.mark.parametrize("stage", ["embed", "search", "generate"])
def test_a_failed_trial_is_unscored_with_the_stage_but_for_what_it_did_retrieve(scorer: Scorer, stage: str):
    (row,) = scorer.score([TRIALS["full", f"failed: {stage}"]], GOLD)
    found = {score.metric: score.unscored for score in row}
    expected = dict.fromkeys(found, f"failed: {stage}")
    assert found == expected | (dict.fromkeys(ABOUT_CONTEXT) if stage == "generate" else {})
