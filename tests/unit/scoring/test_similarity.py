import numpy as np
import pytest

from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.trial import Answer, Failure, Ranking, Trial
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import ModelError
from ragtrial.scoring.similarity import SimilarityScorer

GOLD = GoldSet(
    name="g",
    queries=(
        Query(query_id="q1", text="one", answers=("forty boxes in a rack", "forty boxes")),
        Query(query_id="q2", text="two", answers=("strong wind",)),
        Query(query_id="q3", text="three", answers=()),
    ),
    judgments=(),
)


class CountingEmbedder(HashingEmbedder):
    """Remembers what it was asked to embed."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.calls: list[list[str]] = []

    def embed(self, texts, *, kind, progress=None):
        self.calls.append(list(texts))
        return super().embed(texts, kind=kind, progress=progress)


class BrokenEmbedder(HashingEmbedder):
    def embed(self, texts, *, kind, progress=None):
        del texts, kind, progress
        raise ModelError("no such endpoint")


def trial_of(query_id: str, text: str) -> Trial:
    answer = Answer(text=text, finish_reason="stop" if text else "abstained", generator="fake/1")
    return Trial(arm="a", query_id=query_id, ranking=Ranking(query_id=query_id, hits=()), answer=answer)


def results(scorer: SimilarityScorer, *trials: Trial) -> list[float | str | None]:
    return [score.value if score.unscored is None else score.unscored for (score,) in scorer.score(trials, GOLD)]


def test_it_is_the_cosine_with_the_nearest_reference():
    embedder = HashingEmbedder()
    answer, long, short = embedder.embed(["boxes by the dozen", "forty boxes in a rack", "forty boxes"], kind="passage")
    expected = max(float(np.dot(answer, long)), float(np.dot(answer, short)), 0.0)
    assert results(SimilarityScorer(embedder), trial_of("q1", "boxes by the dozen")) == [pytest.approx(expected, abs=1e-6)]
    assert 0 < expected < 1


def test_the_same_words_score_1_and_no_more():
    assert results(SimilarityScorer(HashingEmbedder()), trial_of("q1", "forty boxes"), trial_of("q2", "strong wind")) == pytest.approx(
        [1.0, 1.0]
    )
    assert max(results(SimilarityScorer(HashingEmbedder()), trial_of("q1", "forty boxes"))) <= 1.0


def test_a_cosine_below_0_counts_as_0():
    embedder = HashingEmbedder(dimension=2)  # so few dimensions that some word points away from the reference
    reference = embedder.embed(["strong wind"], kind="passage")[0]
    words = [f"w{i}" for i in range(50)]
    away = next(word for word, row in zip(words, embedder.embed(words, kind="passage"), strict=True) if row @ reference < 0)
    assert results(SimilarityScorer(embedder), trial_of("q2", away)) == [0.0]


def test_what_has_no_vector_has_a_reason():
    trials = [
        trial_of("q1", ""),
        trial_of("q3", "forty boxes"),
        Trial(arm="a", query_id="q1", ranking=Ranking(query_id="q1", hits=())),
        *(Trial(arm="a", query_id="q1", failure=Failure(stage=stage, kind="K", message="m")) for stage in ("embed", "search", "generate")),
        trial_of("q1", "forty boxes"),
    ]
    expected = ["abstained", "no reference answer", "no answer", "failed: embed", "failed: search", "failed: generate"]
    assert results(SimilarityScorer(HashingEmbedder()), *trials) == [*expected, pytest.approx(1.0)]


def test_a_batch_is_embedded_in_one_call_each_text_once_and_references_only_once_for_all_batches():
    embedder = CountingEmbedder()
    scorer = SimilarityScorer(embedder)
    results(scorer, trial_of("q1", "forty boxes"), trial_of("q1", "new words"), trial_of("q2", "new words"))
    assert len(embedder.calls) == 1
    assert sorted(embedder.calls[0]) == ["forty boxes", "forty boxes in a rack", "new words", "strong wind"]
    results(scorer, trial_of("q1", "other words"))
    assert embedder.calls[1] == ["other words"]


def test_scores_do_not_depend_on_the_batch():
    trials = [trial_of("q1", "forty boxes and wind"), trial_of("q2", "wind is strong"), trial_of("q1", "a rack")]
    alone = [results(SimilarityScorer(HashingEmbedder()), trial)[0] for trial in trials]
    assert results(SimilarityScorer(HashingEmbedder()), *trials) == pytest.approx(alone, abs=1e-6)


def test_the_version_names_the_model():
    one, other = (SimilarityScorer(HashingEmbedder(model=name)).version for name in ("one", "other"))
    assert one != other
    assert one.startswith(f"similarity/1 {HashingEmbedder(model='one').identity} ")


def test_a_model_that_fails_stops_the_run_and_scores_nothing():
    with pytest.raises(ModelError, match="no such endpoint"):
        results(SimilarityScorer(BrokenEmbedder()), trial_of("q1", "forty boxes"))
