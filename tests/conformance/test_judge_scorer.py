"""What every scorer keeps, for our judge: its LLM is the scripted server, which answers by the question alone."""

from collections.abc import Iterator

import pytest

from conformance.test_scorer import (  # noqa: F401  # collected here with this module's scorer
    PASSAGES,
    test_a_trial_scores_the_same_alone_as_in_company,
    test_a_version_is_a_name_and_a_number,
    test_every_trial_gets_every_metric_in_order_and_in_range,
    test_no_trials_give_no_scores,
    test_reasons_are_a_few_words_that_can_be_counted,
    test_what_a_failed_trial_never_had_is_unscored_with_the_stage,
)
from ragtrial.contracts import Scorer
from ragtrial.domain.metric import metric_named
from ragtrial.llm.chat import Endpoint, Sampling
from ragtrial.llm.gate import Gate, Limits
from ragtrial.llm.prices import read_prices
from ragtrial.scoring.judge import JudgeScorer
from scripted_llm import ScriptedLlm, sensible


@pytest.fixture(params=["arm is the control", "arm is a reference line"])
def scorer(request: pytest.FixtureRequest) -> Iterator[Scorer]:
    names = ("judge_groundedness", "judge_correctness", "judge_preference")
    with ScriptedLlm(lambda asked, _number: sensible(asked)) as llm, Gate(Limits(), prices=read_prices()) as gate:
        yield JudgeScorer(
            [metric_named(name) for name in names],
            gate=gate,
            endpoint=Endpoint(base_url=llm.url, model="scripted-model"),
            sampling=Sampling(),
            passages=PASSAGES,
            context_passages=2,
            repetitions=dict.fromkeys(names, 2),
            control="arm" if request.param == "arm is the control" else "control",
            treatment="treatment",
        )
