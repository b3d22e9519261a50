"""Answer metrics against SQuAD's official formulas and ROUGE's definition, both written out here."""

import collections
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.trial import Answer, Hit, Ranking, Trial
from ragtrial.scoring.lexical import LexicalScorer

NAMES = ("answer_f1", "answer_exact_match", "answer_rouge_l", "answer_token_recall", "answer_containment")

PAIRS = [
    ("The cat sat on the mat.", "the cat sat on a mat"),
    ("15 minutes before the window opens.", "It may pass from 15 minutes before its window opens until 30 minutes after."),
    ("p<0.05", "P < 0.05"),
    ("45 EUR", "At the gate it costs 45 EUR, using both passes."),
    ("mother-to-child transmission", "Mother-to-child transmission (MTCT) is the main cause."),
    ("yes yes yes no", "yes no no"),
    ("nothing in common", "entirely different words"),
    ("theatre another thin", "a theatre an other thing"),
    ("3.5-fold", "3.5 fold"),
]


def squad_normalize(s):
    """`normalize_answer` of the official evaluate-v1.1.py."""

    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    def lower(text):
        return text.lower()

    return white_space_fix(remove_articles(remove_punc(lower(s))))


def squad_f1(prediction, ground_truth):
    """`f1_score` of the official evaluate-v1.1.py."""
    prediction_tokens = squad_normalize(prediction).split()
    ground_truth_tokens = squad_normalize(ground_truth).split()
    common = collections.Counter(prediction_tokens) & collections.Counter(ground_truth_tokens)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


def rouge_l(prediction, reference):
    """Lin 2004, section 3.1, with beta 1: the harmonic mean of LCS over either length; words as in ROUGE-1.5.5."""
    x, y = (re.findall(r"[a-z0-9]+", text.lower()) for text in (reference, prediction))
    best = {(i, j): 0 for i in range(len(x) + 1) for j in range(len(y) + 1)}
    for i, left in enumerate(x):
        for j, right in enumerate(y):
            best[i + 1, j + 1] = best[i, j] + 1 if left == right else max(best[i, j + 1], best[i + 1, j])
    lcs = best[len(x), len(y)]
    return 2 * lcs / (len(x) + len(y)) if lcs else 0.0


def scored(answer: str, *references: str) -> dict[str, float | None]:
    """Each answer metric of one answer."""
    gold = GoldSet(name="g", queries=(Query(query_id="q", text="which", answers=references),), judgments=())
    ranking = Ranking(query_id="q", hits=(Hit(passage_id="p", similarity=1.0),))
    trial = Trial(arm="a", query_id="q", ranking=ranking, answer=Answer(text=answer, cited=("p",), generator="fake/1"))
    (scores,) = LexicalScorer([metric_named(name) for name in NAMES]).score([trial], gold)
    return {score.metric: score.value for score in scores}


@pytest.mark.parametrize(("reference", "answer"), [*PAIRS, *((b, a) for a, b in PAIRS)])
def test_f1_and_exact_match_are_squads_and_rouge_l_is_lins(reference, answer):
    values = scored(answer, reference)
    assert values["answer_f1"] == pytest.approx(squad_f1(answer, reference), abs=1e-12)
    assert values["answer_exact_match"] == float(squad_normalize(answer) == squad_normalize(reference))
    assert values["answer_rouge_l"] == pytest.approx(rouge_l(answer, reference), abs=1e-12)
    assert values["answer_rouge_l"] == RougeScorer(["rougeL"], use_stemmer=False).score(reference, answer)["rougeL"].fmeasure


words = st.lists(
    st.sampled_from(["gate", "Gate", "the", "box", "a", "45", "EUR,", "(hold)", "re-handle", "mass."]), min_size=1, max_size=12
)


@given(answer=words, references=st.lists(words, min_size=1, max_size=3))
def test_the_best_reference_counts_for_each_metric(answer, references):
    texts = [" ".join(reference) for reference in references]
    usable = [text for text in texts if squad_normalize(text)]
    said = " ".join(answer)
    values = scored(said, *texts)
    if not usable:
        assert values["answer_f1"] is None
        return
    assert values["answer_f1"] == pytest.approx(max(squad_f1(said, text) for text in usable), abs=1e-12)
    assert values["answer_exact_match"] == max(float(squad_normalize(said) == squad_normalize(text)) for text in usable)
    assert values["answer_containment"] == max(float(f" {squad_normalize(text)} " in f" {squad_normalize(said)} ") for text in usable)
    assert values["answer_rouge_l"] == pytest.approx(max(rouge_l(said, text) for text in texts), abs=1e-12)


@given(answer=words, reference=words)
def test_the_answer_metrics_are_ordered_as_their_definitions_are(answer, reference):
    values = scored(" ".join(answer), " ".join(reference))
    if values["answer_f1"] is None:
        return
    assert values["answer_exact_match"] <= values["answer_containment"] <= values["answer_token_recall"]
    assert values["answer_exact_match"] <= values["answer_f1"] <= 1
