"""What an experiment's training learns from, and what watches it: never what the model will be tested on."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragtrial.contracts import Embedder, Progress
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import TrainingSpec
from ragtrial.errors import InputError
from ragtrial.finetuning.dev import DevSet, dev_set, dev_set_of_pairs
from ragtrial.finetuning.leakage import Leaks, find_leaks, normalise
from ragtrial.finetuning.mining import mine
from ragtrial.finetuning.pairs import training_pairs
from ragtrial.formats.data import check_data
from ragtrial.formats.pairs import read_pairs
from ragtrial.suite.preparing import Prepared, load

_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Material:
    """Pairs and dev set of a training.

    Attributes:
        pairs: Without leaks, with their negatives.
        dev: None where there are no dev queries.
        facts: For the lineage: pairs found and refused, digests, mining.
    """

    pairs: tuple[Pair, ...]
    dev: DevSet | None
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The judgments of `training.data`, or the experiment's own corpus where there are none."""

    corpus: Corpus
    gold: GoldSet | None


def gather(prepared: Prepared, spec: TrainingSpec, *, embedder: Embedder | None, progress: Progress) -> Material:
    """Read the pairs, refuse those that touch the gold set, and mine negatives where the settings ask for it.

    Args:
        prepared: The experiment.
        spec: Its training.
        embedder: The base, for mining; None where nothing is mined.
        progress: Told how far mining is.

    Raises:
        InputError: A file of pairs can't be read.
        ModelError: A text can't be embedded for mining.
    """
    test_corpus, test_gold, _ = load(prepared.experiment.data, prepared.file)
    source = _source(prepared, spec, test_corpus)
    filed = [pair for path in spec.pairs for pair in read_pairs(prepared.file.folder / path)]
    found = [*(training_pairs(source.corpus, source.gold) if source.gold else ()), *(pair for pair in filed if pair.split == "train")]
    leaks = find_leaks(found, gold=test_gold, corpus=test_corpus)
    pairs = [pair for position, pair in enumerate(found) if position not in leaks.reasons]
    pairs, withheld = _without_leaking_negatives(pairs, test_gold, test_corpus)
    facts: dict[str, Any] = {"pairs": _pair_facts(found, leaks, withheld)}
    if spec.mining.per_pair and embedder is not None:
        allowed = _allowed(source.corpus.passages, test_gold, test_corpus)
        mined = mine(
            pairs, allowed, embedder=embedder, spec=spec.mining, seed=spec.seed, relevant=_relevant(source.gold), progress=progress
        )
        pairs = list(mined.pairs)
        facts["mining"] = {
            **dataclasses.asdict(spec.mining),
            "passages": len(allowed),
            "passages_of_the_test_left_out": len(source.corpus.passages) - len(allowed),
            "negatives": sum(len(pair.negatives) for pair in pairs),
            "pairs_without": mined.n_without,
            "too_near": mined.n_too_near,
        }
    dev, where = _dev(prepared, spec, filed, pairs, source, (test_gold, test_corpus))
    facts["data_digests"] = {
        "training_corpus": source.corpus.fingerprint,
        "gold": test_gold.fingerprint,
        "dev": None if dev is None else dev.gold.fingerprint,
    }
    facts["dev_from"] = where
    return Material(pairs=tuple(pairs), dev=dev, facts=facts)


def _source(prepared: Prepared, spec: TrainingSpec, test_corpus: Corpus) -> _Source:
    if spec.data is None:
        return _Source(corpus=test_corpus, gold=None)
    corpus, gold, _ = load(spec.data, prepared.file)
    return _Source(corpus=corpus, gold=gold)


def _pair_facts(found: Sequence[Pair], leaks: Leaks, withheld: int) -> dict[str, Any]:
    examples = [f"{found[position].query!r}: {reason}" for position, reason in list(leaks.reasons.items())[:_EXAMPLES]]
    facts: dict[str, Any] = {
        "found": len(found),
        "refused": leaks.counts(),
        "examples": examples,
        "origins": dict(Counter(pair.origin for pair in found)),
    }
    return facts | ({"negatives_refused": withheld} if withheld else {})


def _allowed(passages: Sequence[Passage], gold: GoldSet, corpus: Corpus) -> tuple[Passage, ...]:
    """Passages that answer no gold query and whose document answers none: as negatives they would be trained on all the same."""
    probes = [
        Pair(query="-", passage=passage.content or "-", passage_id=passage.passage_id, document_id=passage.document_id)
        for passage in passages
    ]
    leaking = find_leaks(probes, gold=gold, corpus=corpus).reasons
    return tuple(passage for position, passage in enumerate(passages) if position not in leaking)


def _without_leaking_negatives(pairs: Sequence[Pair], gold: GoldSet, corpus: Corpus) -> tuple[list[Pair], int]:
    """Negatives of files that answer a gold query are taken out, and counted."""
    relevant = [corpus.by_id[judgment.target_id] for judgment in gold.judgments if judgment.grade > 0]
    texts = {normalise(text) for passage in relevant for text in (passage.content, passage.text)}
    kept, withheld = [], 0
    for pair in pairs:
        negatives = tuple(text for text in pair.negatives if normalise(text) not in texts)
        withheld += len(pair.negatives) - len(negatives)
        kept.append(dataclasses.replace(pair, negatives=negatives))
    return kept, withheld


def _relevant(gold: GoldSet | None) -> dict[str, set[str]] | None:
    """By the text of a query the passages that were judged relevant for it."""
    if gold is None:
        return None
    found: dict[str, set[str]] = {}
    grades = gold.qrels()
    for query in gold.queries:
        found.setdefault(query.text, set()).update(passage_id for passage_id, grade in grades[query.query_id].items() if grade > 0)
    return found


def _dev(
    prepared: Prepared,
    spec: TrainingSpec,
    filed: Sequence[Pair],
    pairs: Sequence[Pair],
    source: _Source,
    test: tuple[GoldSet, Corpus],
) -> tuple[DevSet | None, str | None]:
    """The dev split of the data, else that of the files, without what the test will ask: it would choose the checkpoint by its own test.

    A query that is trained on, as those of votes may be, is no dev query either: it would choose the checkpoint that knows it by heart.
    """
    trained = {normalise(pair.query) for pair in pairs}
    judged = _dev_of_data(prepared, spec, test, trained)
    if judged is not None:
        return judged, f"split {spec.dev_split!r} of training.data"
    own = [pair for pair in filed if pair.split == "dev" and normalise(pair.query) not in trained]
    leaking = find_leaks(own, gold=test[0], corpus=test[1]).reasons
    own = [pair for position, pair in enumerate(own) if position not in leaking]
    found = dev_set_of_pairs(own, others=source.corpus.passages, seed=spec.seed)
    return found, None if found is None else "the dev pairs of training.pairs"


def _dev_of_data(prepared: Prepared, spec: TrainingSpec, test: tuple[GoldSet, Corpus], trained: set[str]) -> DevSet | None:
    if spec.data is None:
        return None
    data = dataclasses.replace(spec.data, split=spec.dev_split)
    if spec.data.format != "beir" or check_data(data, prepared.file.folder).problems:
        return None
    corpus, gold, _ = load(data, prepared.file)
    pairs = training_pairs(corpus, gold)
    leaking = {pairs[position].query for position in find_leaks(pairs, gold=test[0], corpus=test[1]).reasons}
    queries = tuple(query for query in gold.queries if query.text not in leaking and normalise(query.text) not in trained)
    kept = {query.query_id for query in queries}
    judgments = tuple(judgment for judgment in gold.judgments if judgment.query_id in kept)
    return dev_set(dataclasses.replace(gold, queries=queries, judgments=judgments), corpus.passages, seed=spec.seed)


def check_enough(pairs: Sequence[Pair], material: Mapping[str, Any]) -> None:
    """Refuse to train on nothing, and say why nothing is left.

    Raises:
        InputError: No pair is left.
    """
    if pairs:
        return
    refused = ", ".join(f"{n:,} because {reason}" for reason, n in material["pairs"]["refused"].items()) or "none was found"
    raise InputError(f"no training pair is left: {refused}; train on other documents than the gold set asks about")
