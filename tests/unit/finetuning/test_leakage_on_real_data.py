"""Splits by document don't leak, template questions are not near-duplicates, and planted paraphrases are found."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ragtrial.chunking import cut, resolve
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.leakage import GOLD_DOCUMENT, GOLD_PASSAGE, GOLD_QUERY, NEAR_GOLD_QUERY, find_leaks
from ragtrial.finetuning.pairs import training_pairs
from ragtrial.formats.beir import derive_clusters, load_beir

Split = Callable[[str, str], tuple[Corpus, GoldSet]]


@pytest.fixture(scope="module")
def split(shared_data: Path) -> Split:
    def load(name: str, split: str) -> tuple[Corpus, GoldSet]:
        data = load_beir(shared_data / name, split)
        corpus = cut(data.documents, ChunkingSpec(), name)
        return corpus, resolve(derive_clusters(data.gold, data.documents), data.documents, corpus).gold

    return load


@pytest.mark.parametrize(("name", "most"), [("medquad", 5), ("covidqa", 0), ("pubmedqa", 0)])
def test_few_pairs_of_a_split_by_document_are_refused_and_none_for_its_passage_or_document(split: Split, name: str, most: int) -> None:
    pairs = training_pairs(*split(name, "train"))
    corpus, gold = split(name, "test")
    counts = find_leaks(pairs, gold=gold, corpus=corpus).counts()
    assert GOLD_DOCUMENT not in counts
    assert sum(counts.values()) <= most


def test_planted_leaks_are_found_among_thousands_of_template_questions(split: Split) -> None:
    rng = random.Random(3)
    corpus, gold = split("medquad", "test")
    pairs = list(training_pairs(*split("medquad", "train")))
    clean = set(find_leaks(pairs, gold=gold, corpus=corpus).reasons)
    planted: dict[int, str] = {}
    for query, place in zip(rng.sample(gold.queries, 60), rng.sample([i for i in range(len(pairs)) if i not in clean], 60), strict=True):
        words = query.text.rstrip("?").split()
        kind = place % 3
        shuffled = " ".join(rng.sample(words, len(words)))
        text = (query.text.upper() + "!", f"{shuffled} ?", "Something else")[kind]
        relevant = corpus.by_id[next(j.target_id for j in gold.judgments if j.query_id == query.query_id)]
        content = relevant.content.replace(".", " . ") if kind == 2 else "Other words."
        pairs[place] = Pair(query=text, passage=content, passage_id="planted", document_id="planted")
        planted[place] = (GOLD_QUERY, NEAR_GOLD_QUERY, GOLD_PASSAGE)[kind]
    found = find_leaks(pairs, gold=gold, corpus=corpus).reasons
    assert set(found) == clean | set(planted)
    # a shuffled question may happen to keep its order
    assert all(found[place] == kind or kind == NEAR_GOLD_QUERY for place, kind in planted.items())
