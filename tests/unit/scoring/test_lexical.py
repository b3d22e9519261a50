import pytest

from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.trial import Answer, Failure, Ranking, Trial
from ragtrial.scoring.lexical import LexicalScorer, containment, f1, normalised, token_recall

NAMES = ("answer_f1", "answer_exact_match", "answer_containment", "answer_token_recall", "answer_rouge_l", "abstained")
SCORER = LexicalScorer([metric_named(name) for name in NAMES])


def gold_of(*answers: str) -> GoldSet:
    return GoldSet(name="g", queries=(Query(query_id="q", text="which", answers=answers),), judgments=())


def answered(text: str) -> Trial:
    answer = Answer(text=text, finish_reason="stop" if text else "abstained", generator="fake/1")
    return Trial(arm="a", query_id="q", ranking=Ranking(query_id="q", hits=()), answer=answer)


def values_of(trial: Trial, gold: GoldSet) -> dict[str, float | str | None]:
    """Each metric's value, or the reason why there is none."""
    (scores,) = SCORER.score([trial], gold)
    assert [score.metric for score in scores] == list(NAMES)
    return {score.metric: score.value if score.unscored is None else score.unscored for score in scores}


def test_normalisation_drops_case_punctuation_articles_and_white_space():
    assert normalised("  The  A-Team's\tanthem, an (old) one! ") == ("ateams", "anthem", "old", "one")


def test_f1_is_the_harmonic_mean_of_precision_and_recall_over_multisets():
    # Shared: red once, box once. Precision 2/4, recall 2/3: 2 * (1/2 * 2/3) / (1/2 + 2/3) = 4/7.
    assert f1(["red", "red", "box", "here"], ["red", "box", "there"]) == pytest.approx(4 / 7)


def test_token_recall_counts_repeated_words_of_the_reference_each():
    assert token_recall(["red", "box"], ["red", "red", "box", "gate"]) == 0.5


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It costs 45 EUR at the gate.", 1.0),
        ("It costs 145 EUR.", 0.0),
        ("45 is the EUR price", 0.0),
        ("EUR 45", 0.0),
        ("45 eur", 1.0),
        ("45", 0.0),
    ],
)
def test_containment_needs_the_whole_words_side_by_side(answer, expected):
    assert containment(normalised(answer), normalised("45 EUR")) == expected


def test_the_best_of_several_references_counts_for_each_metric_on_its_own():
    values = values_of(answered("forty boxes"), gold_of("completely different", "forty boxes in a rack", "boxes"))
    assert values["answer_containment"] == 1.0  # of "boxes"
    assert values["answer_f1"] == pytest.approx(2 / 3)  # of "boxes" (2 * 1 / 3) and of "forty boxes in rack" (2 * 2 / 6) alike
    assert values["answer_exact_match"] == 0.0


def test_an_abstention_scores_0_on_every_answer_metric_and_1_on_abstained():
    assert values_of(answered(""), gold_of("forty boxes")) == {**dict.fromkeys(NAMES, 0.0), "abstained": 1.0}


def test_an_answer_has_abstained_0():
    assert values_of(answered("forty boxes"), gold_of("forty boxes")) == {**dict.fromkeys(NAMES, 1.0), "abstained": 0.0}


@pytest.mark.parametrize("answers", [(), ("",), ("the", "...")])
@pytest.mark.parametrize("text", ["forty boxes", "", "..."])
def test_without_a_reference_that_holds_a_word_nothing_is_compared(answers, text):
    values = values_of(answered(text), gold_of(*answers))
    if answers == ("the", "..."):
        assert values.pop("answer_rouge_l") == 0.0  # ROUGE knows no articles: "the" is a word there
        values["answer_rouge_l"] = "no reference answer"
    assert values == {**dict.fromkeys(NAMES, "no reference answer"), "abstained": float(not text)}


def test_rouge_l_is_unscored_where_no_reference_has_a_latin_letter_or_digit():
    values = values_of(answered("四十箱"), gold_of("四十箱"))
    assert (values["answer_exact_match"], values["answer_rouge_l"]) == (1.0, "no reference answer")


def test_rouge_l_does_not_stem():
    assert values_of(answered("weighed boxes"), gold_of("weighing box"))["answer_rouge_l"] == 0.0


@pytest.mark.parametrize("stage", ["embed", "search", "generate"])
def test_a_failed_trial_names_the_stage_that_failed(stage):
    ranking = Ranking(query_id="q", hits=()) if stage == "generate" else None
    trial = Trial(arm="a", query_id="q", ranking=ranking, failure=Failure(stage=stage, kind="ModelError", message="m"))
    assert set(values_of(trial, gold_of("forty boxes")).values()) == {f"failed: {stage}"}


def test_without_generation_there_is_no_answer_and_that_is_no_abstention():
    trial = Trial(arm="a", query_id="q", ranking=Ranking(query_id="q", hits=()))
    assert set(values_of(trial, gold_of("forty boxes")).values()) == {"no answer"}


def test_another_gold_set_brings_its_own_references():
    trial = answered("forty boxes")
    assert values_of(trial, gold_of("forty boxes"))["answer_f1"] == 1.0
    assert values_of(trial, gold_of("two ships"))["answer_f1"] == 0.0


def test_a_metric_of_another_scorer_is_refused():
    with pytest.raises(ValueError, match=r"'answer_similarity'.*answer_f1"):
        LexicalScorer([metric_named("answer_similarity")])
