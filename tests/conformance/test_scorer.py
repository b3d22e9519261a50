"""What every scorer keeps, on every kind of trial there is. A new scorer is added to `SCORERS`."""

from collections.abc import Callable

import pytest

from ragtrial.contracts import Scorer
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Timings, Trial, Usage
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.scoring.grounding import GroundingScorer
from ragtrial.scoring.lexical import LexicalScorer
from ragtrial.scoring.operation import OperationScorer
from ragtrial.scoring.retrieval import RetrievalScorer
from ragtrial.scoring.similarity import SimilarityScorer

TEXTS = {"p1": "A truck may pass 15 minutes early.", "p2": "A rack holds forty boxes.", "p3": "The wind is strong."}
PASSAGES = {key: Passage(passage_id=key, document_id=key, text=text, start=0, end=len(text)) for key, text in TEXTS.items()}
GOLD = GoldSet(
    name="gold",
    queries=(
        Query(query_id="full", text="how early", answers=("15 minutes", "a quarter of an hour")),
        Query(query_id="no reference", text="how early"),
        Query(query_id="blank reference", text="how early", answers=("", "...")),
        Query(query_id="judged zero", text="how early", answers=("15 minutes",)),
        Query(query_id="unjudged", text="how early", answers=("15 minutes",)),
    ),
    judgments=(
        Judgment(query_id="full", target_id="p1", grade=2),
        Judgment(query_id="full", target_id="p3", grade=0),
        Judgment(query_id="no reference", target_id="p2", grade=1),
        Judgment(query_id="blank reference", target_id="p2", grade=1),
        Judgment(query_id="judged zero", target_id="p1", grade=0),
    ),
)

SCORERS: dict[str, Callable[[], Scorer]] = {
    "retrieval": lambda: RetrievalScorer(
        [metric_named(f"{m}@{k}") for m in ("nDCG", "R", "P", "RR", "AP", "Success", "Judged") for k in (1, 10)]
    ),
    "lexical": lambda: LexicalScorer(
        [
            metric_named(name)
            for name in ("answer_f1", "answer_exact_match", "answer_containment", "answer_token_recall", "answer_rouge_l", "abstained")
        ]
    ),
    "grounding": lambda: GroundingScorer(PASSAGES),
    "similarity": lambda: SimilarityScorer(HashingEmbedder()),
    "operation": lambda: OperationScorer(
        [
            metric_named(name)
            for name in ("latency_ms", "embed_ms", "search_ms", "generate_ms", "cost_usd", "prompt_tokens", "completion_tokens")
        ]
    ),
}


def ranking_of(query_id: str, *ids: str) -> Ranking:
    return Ranking(query_id=query_id, hits=tuple(Hit(passage_id=p, similarity=-float(i)) for i, p in enumerate(ids)))


def answer_of(text: str, *cited: str) -> Answer:
    usage = Usage(prompt_tokens=10, completion_tokens=3, cost_usd=0.0)
    return Answer(text=text, cited=cited, finish_reason="stop" if text else "abstained", generator="fake/1", usage=usage)


def kinds_of(query_id: str) -> dict[str, Trial]:
    """Every kind of trial of one query."""

    def trial(**more: object) -> Trial:
        return Trial(arm="arm", query_id=query_id, **more)

    def failure(stage: str) -> Failure:
        return Failure(stage=stage, kind="StoreError", message="it broke")

    full, empty = ranking_of(query_id, "p2", "p1", "p3"), ranking_of(query_id)
    timings = Timings(embed_ms=1.0, search_ms=2.0, generate_ms=3.0)
    return {
        "answered": trial(ranking=full, answer=answer_of("A truck may pass 15 minutes early.", "p1")),
        "answered and timed": trial(ranking=full, answer=answer_of("15 minutes", "p1"), timings=timings),
        "answered without a citation": trial(ranking=full, answer=answer_of("15 minutes")),
        "answered from nowhere": trial(ranking=full, answer=answer_of("15 minutes", "invented")),
        "answered with punctuation only": trial(ranking=full, answer=answer_of("...", "p1")),
        "abstained": trial(ranking=full, answer=answer_of("")),
        "no generation": trial(ranking=full, timings=timings),
        "empty ranking": trial(ranking=empty, answer=answer_of("")),
        "unknown passage retrieved": trial(ranking=ranking_of(query_id, "p9"), answer=answer_of("15 minutes", "p9")),
        "failed: embed": trial(failure=failure("embed")),
        "failed: search": trial(failure=failure("search")),
        "failed: generate": trial(ranking=full, failure=failure("generate")),
    }


TRIALS = {(query.query_id, kind): trial for query in GOLD.queries for kind, trial in kinds_of(query.query_id).items()}


@pytest.fixture(params=SCORERS)
def scorer(request: pytest.FixtureRequest) -> Scorer:
    return SCORERS[request.param]()


def test_every_trial_gets_every_metric_in_order_and_in_range(scorer: Scorer):
    rows = scorer.score(list(TRIALS.values()), GOLD)
    assert len(rows) == len(TRIALS)
    for key, row in zip(TRIALS, rows, strict=True):
        assert [score.metric for score in row] == [metric.name for metric in scorer.metrics], key
        for metric, score in zip(scorer.metrics, row, strict=True):
            assert score.scorer == scorer.version
            if score.value is not None:
                assert score.value >= 0, key
                assert metric.unit != "share" or score.value <= 1, key


def test_no_trials_give_no_scores(scorer: Scorer):
    assert scorer.score([], GOLD) == ()


def test_a_trial_scores_the_same_alone_as_in_company(scorer: Scorer):
    together = scorer.score(list(TRIALS.values()), GOLD)
    for trial, row in zip(TRIALS.values(), together, strict=True):
        (alone,) = scorer.score([trial], GOLD)
        for one, other in zip(alone, row, strict=True):
            assert (one.value, one.unscored) == (pytest.approx(other.value, abs=1e-6), other.unscored)


def test_a_deterministic_scorer_says_the_same_again(scorer: Scorer, request: pytest.FixtureRequest):
    if scorer.deterministic:
        twin = SCORERS[request.node.callspec.params["scorer"]]()
        assert twin.score(list(TRIALS.values()), GOLD) == scorer.score(list(TRIALS.values()), GOLD)


@pytest.mark.parametrize("stage", ["embed", "search", "generate"])
def test_what_a_failed_trial_never_had_is_unscored_with_the_stage(scorer: Scorer, stage: str):
    """Retrieval alone scores a failed trial: a query that an arm dropped got nothing, which is 0 (trec_eval's option -c)."""
    (row,) = scorer.score([TRIALS["full", f"failed: {stage}"]], GOLD)
    if scorer.metrics[0].kind != "retrieval":
        assert {score.unscored for score in row} == {f"failed: {stage}"}


def test_reasons_are_a_few_words_that_can_be_counted(scorer: Scorer):
    reasons = {score.unscored for row in scorer.score(list(TRIALS.values()), GOLD) for score in row if score.unscored is not None}
    assert len(reasons) <= 9
    assert all(len(reason) <= 40 for reason in reasons)


def test_a_version_is_a_name_and_a_number(scorer: Scorer):
    name, _, number = scorer.version.partition("/")
    assert name.isidentifier()
    assert number[:1].isdigit()
