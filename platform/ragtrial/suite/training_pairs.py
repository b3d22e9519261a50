"""What an experiment's training learns from, and what watches it: never what the model will be tested on."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtrial.contracts import Embedder, Progress
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import TrainingSpec
from ragtrial.errors import InputError
from ragtrial.finetuning.dev import DevSet, dev_set, dev_set_of_pairs
from ragtrial.finetuning.leakage import Leaks, normalise
from ragtrial.finetuning.mining import mine
from ragtrial.finetuning.pairs import training_pairs
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.data import check_data
from ragtrial.suite.corpus_licences import Licences
from ragtrial.suite.data_licences import (
    in_words,
    inherited_licences,
    licence_beside,
    licences_of,
    licences_of_negatives,
    with_mined_licence,
)
from ragtrial.suite.gold_leaks import Gold
from ragtrial.suite.pair_material import corpus_path
from ragtrial.suite.preparing import Prepared, load
from ragtrial.suite.training_files import read_pair_files

_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Material:
    """Pairs and dev set of a training.

    Attributes:
        pairs: Without leaks, with their negatives.
        dev: None where there are no dev queries.
        facts: For the lineage: pairs found and refused, digests, mining, licences.
    """

    pairs: tuple[Pair, ...]
    dev: DevSet | None
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The judgments of `training.data`, or the experiment's own corpus where there are none."""

    path: Path
    corpus: Corpus
    gold: GoldSet | None


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the files hold, before any model is loaded.

    Attributes:
        found: Every training pair of the judgments and the files.
        filed: Every pair of the files, those of other splits too.
        pairs: The training pairs that don't touch the gold set, without negatives that do.
        source: Where mined negatives come from.
        gold: What must not be touched.
        facts: Of the pairs, for the lineage.
    """

    found: tuple[Pair, ...]
    filed: tuple[Pair, ...]
    pairs: tuple[Pair, ...]
    source: _Source
    gold: Gold
    facts: Mapping[str, Any]


def read_sources(prepared: Prepared, spec: TrainingSpec) -> Sources:
    """Read the pairs, and refuse those that touch the gold set: what `ragtrial pairs build` would refuse is refused here too.

    Raises:
        ValidationError: Files of pairs are faulty; with every fault of all of them.
        InputError: No pair is left.
    """
    filed = read_pair_files([prepared.file.folder / path for path in spec.pairs])
    source, gold = _source(prepared, spec), Gold.of(prepared)
    judged = training_pairs(source.corpus, source.gold) if source.gold else ()
    known = {source.path: source.corpus, corpus_path(prepared.experiment.data, prepared.file.folder): gold.corpus}
    found = tuple(Licences.of(prepared, known).noted((*judged, *(pair for pair in filed if pair.split == "train"))))
    leaks = Leaks(reasons=gold.leaks(found))
    pairs, withheld = gold.without_touched_negatives([pair for position, pair in enumerate(found) if position not in leaks.reasons])
    facts = {"pairs": _pair_facts(found, leaks, withheld)}
    check_enough(pairs, facts)
    return Sources(found=found, filed=filed, pairs=tuple(pairs), source=source, gold=gold, facts=facts)


def gather(prepared: Prepared, spec: TrainingSpec, sources: Sources, *, embedder: Embedder | None, progress: Progress) -> Material:
    """Mine negatives where the settings ask for it, and put the dev set beside the pairs.

    Args:
        prepared: The experiment.
        spec: Its training.
        sources: What the files hold.
        embedder: The base, for mining; None where nothing is mined.
        progress: Told how far mining is.

    Raises:
        ModelError: A text can't be embedded for mining.
    """
    pairs, source = sources.pairs, sources.source
    facts = dict(sources.facts)
    if spec.mining.per_pair and embedder is not None:
        allowed = sources.gold.untouched(source.corpus.passages)
        mined = mine(
            pairs, allowed, embedder=embedder, spec=spec.mining, seed=spec.seed, relevant=_relevant(source.gold), progress=progress
        )
        pairs = with_mined_licence(pairs, mined.pairs, licence_beside(source.path))
        facts["mining"] = {
            **dataclasses.asdict(spec.mining),
            "passages": len(allowed),
            "passages_of_the_test_left_out": len(source.corpus.passages) - len(allowed),
            "negatives": sum(len(pair.negatives) for pair in pairs),
            "pairs_without": mined.n_without,
            "too_near": mined.n_too_near,
        }
    dev, where = _dev(prepared, spec, sources)
    facts["data_digests"] = {
        "training_corpus": source.corpus.fingerprint,
        "gold": sources.gold.gold.fingerprint,
        "dev": None if dev is None else dev.gold.fingerprint,
    }
    facts["dev_from"] = where
    facts |= _licence_facts(pairs, prepared, spec)
    return Material(pairs=pairs, dev=dev, facts=facts)


def _licence_facts(pairs: Sequence[Pair], prepared: Prepared, spec: TrainingSpec) -> dict[str, Any]:
    """Of everything that the model learns from: pairs, mined negatives, and what a registered base was trained on, for that is in it too."""
    data, negatives = licences_of(pairs), licences_of_negatives(pairs)
    inherited = {}
    if spec.base.startswith("registry:"):
        inherited = inherited_licences(Registry(prepared.around.registry).get(spec.base).lineage)
    facts: dict[str, Any] = {"data_licence": in_words(data, negatives, inherited), "data_licences": data}
    more = {"negatives_licences": negatives, "inherited_licences": inherited}
    return facts | {name: counts for name, counts in more.items() if counts}


def _source(prepared: Prepared, spec: TrainingSpec) -> _Source:
    if spec.data is None:
        return _Source(path=corpus_path(prepared.experiment.data, prepared.file.folder), corpus=prepared.corpus, gold=None)
    corpus, gold, _ = load(spec.data, prepared.file)
    return _Source(path=corpus_path(spec.data, prepared.file.folder), corpus=corpus, gold=gold)


def _pair_facts(found: Sequence[Pair], leaks: Leaks, withheld: int) -> dict[str, Any]:
    examples = [f"{found[position].query!r}: {reason}" for position, reason in list(leaks.reasons.items())[:_EXAMPLES]]
    facts: dict[str, Any] = {
        "found": len(found),
        "refused": leaks.counts(),
        "examples": examples,
        "origins": dict(Counter(pair.origin for pair in found)),
    }
    return facts | ({"negatives_refused": withheld} if withheld else {})


def _relevant(gold: GoldSet | None) -> dict[str, set[str]] | None:
    """By the text of a query the passages that were judged relevant for it."""
    if gold is None:
        return None
    found: dict[str, set[str]] = {}
    grades = gold.qrels()
    for query in gold.queries:
        found.setdefault(query.text, set()).update(passage_id for passage_id, grade in grades[query.query_id].items() if grade > 0)
    return found


def _dev(prepared: Prepared, spec: TrainingSpec, sources: Sources) -> tuple[DevSet | None, str | None]:
    """The dev split of the data, else that of the files, without what the test will ask: it would choose the checkpoint by its own test.

    A query that is trained on, as those of votes may be, is no dev query either: it would choose the checkpoint that knows it by heart.
    """
    trained = {normalise(pair.query) for pair in sources.pairs}
    judged = _dev_of_data(prepared, spec, sources.gold, trained)
    if judged is not None:
        return judged, f"split {spec.dev_split!r} of training.data"
    own = [pair for pair in sources.filed if pair.split == "dev" and normalise(pair.query) not in trained]
    leaking = sources.gold.leaks(own)
    own = [pair for position, pair in enumerate(own) if position not in leaking]
    found = dev_set_of_pairs(own, others=sources.source.corpus.passages, seed=spec.seed)
    return found, None if found is None else "the dev pairs of training.pairs"


def _dev_of_data(prepared: Prepared, spec: TrainingSpec, test: Gold, trained: set[str]) -> DevSet | None:
    if spec.data is None:
        return None
    data = dataclasses.replace(spec.data, split=spec.dev_split)
    if spec.data.format != "beir" or check_data(data, prepared.file.folder).problems:
        return None
    corpus, gold, _ = load(data, prepared.file)
    pairs = training_pairs(corpus, gold)
    leaking = {pairs[position].query for position in test.leaks(pairs)}
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
