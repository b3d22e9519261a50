import pytest

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Trial
from ragtrial.scoring.grounding import GroundingScorer

NO_GOLD = GoldSet(name="g", queries=(), judgments=())
TEXTS = {
    "gate": "# Early trucks\n\nA truck may pass\n15 minutes early. The *barrier* opens by itself.\n\n- Bring the permit\n  number along.",
    "table": "| Setting | Default |\n|---|---|\n| `early_min` | 15 minutes |\n| `late_min` | 30 minutes |",
    "prose": "The ratio was > 400 in table\n3. The rest of mean6S.D. was below.",
}
PASSAGES = {key: Passage(passage_id=key, document_id=key, text=text, start=0, end=len(text)) for key, text in TEXTS.items()}


def trial_of(text: str, *cited: str, retrieved: tuple[str, ...] = ("gate", "table", "prose", "lost")) -> Trial:
    hits = tuple(Hit(passage_id=p, similarity=1.0) for p in retrieved)
    answer = Answer(text=text, cited=cited, finish_reason="stop" if text else "abstained", generator="fake/1")
    return Trial(arm="a", query_id="q", ranking=Ranking(query_id="q", hits=hits), answer=answer)


def support(trial: Trial) -> float | str | None:
    ((score,),) = GroundingScorer(PASSAGES).score([trial], NO_GOLD)
    return score.value if score.unscored is None else score.unscored


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("A truck may pass 15 minutes early.", "gate"),
        ("A truck  may pass\n15 minutes early.", "gate"),
        ("The barrier opens by itself.", "gate"),
        ("The *barrier* opens by itself.", "gate"),
        ("Bring the permit number along.", "gate"),
        ("`early_min` | 15 minutes", "table"),
        ("early_min 15 minutes", "table"),
        ("The ratio was > 400 in table 3.", "prose"),
        ("The rest of mean6S.", "prose"),
    ],
)
def test_a_sentence_that_stands_in_its_source_is_supported_whatever_the_line_breaks_and_markdown(text, cited):
    assert support(trial_of(text, cited)) == 1.0


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("A truck may pass 50 minutes early.", "gate"),
        ("a truck may pass 15 minutes early.", "gate"),
        ("truck may pass 15 minutes ear", "gate"),
        ("uck may pass 15 minutes early.", "gate"),
        ("A truck may pass 15 minutes early.", "prose"),
        ("early_min 30 minutes", "table"),
        ("***", "gate"),
    ],
)
def test_another_wording_a_cut_word_or_another_source_is_no_support(text, cited):
    assert support(trial_of(text, cited)) == 0.0


def test_support_is_the_share_of_the_answers_sentences():
    text = "A truck may pass 15 minutes early. Everyone likes that. The barrier opens by itself. It is green."
    assert support(trial_of(text, "gate")) == 0.5


def test_sentences_may_rest_on_different_cited_passages():
    text = "The barrier opens by itself. The ratio was > 400 in table 3."
    assert support(trial_of(text, "gate", "prose")) == 1.0
    assert support(trial_of(text, "gate")) == 0.5


def test_an_answer_without_a_citation_is_not_supported():
    assert support(trial_of("The barrier opens by itself.")) == 0.0


def test_a_citation_of_a_passage_that_was_not_retrieved_supports_nothing():
    assert support(trial_of("The barrier opens by itself.", "gate", retrieved=("table",))) == 0.0
    assert support(trial_of("The barrier opens by itself.", "gate", "invented")) == 0.0


def test_where_the_text_of_a_cited_passage_is_missing_nothing_is_measured():
    assert support(trial_of("The barrier opens by itself.", "gate", "lost")) == "text of a cited passage missing"


def test_an_abstention_claims_nothing_and_is_unscored():
    assert support(trial_of("")) == "abstained"


@pytest.mark.parametrize("stage", ["embed", "search", "generate"])
def test_a_failed_trial_names_the_stage_that_failed(stage):
    ranking = Ranking(query_id="q", hits=()) if stage == "generate" else None
    trial = Trial(arm="a", query_id="q", ranking=ranking, failure=Failure(stage=stage, kind="ModelError", message="m"))
    assert support(trial) == f"failed: {stage}"


def test_without_generation_there_is_no_answer():
    assert support(Trial(arm="a", query_id="q", ranking=Ranking(query_id="q", hits=()))) == "no answer"
