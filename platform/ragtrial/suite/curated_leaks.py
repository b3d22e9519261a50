"""Where what people chose for training touches what models are tested on, and the other way round."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ragtrial.db.reader import Reader
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.curation import Curation
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.pair import Pair
from ragtrial.errors import ModelError
from ragtrial.finetuning.leakage import find_leaks, text_digest
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.experiment import resolve_path


@dataclass(frozen=True, kw_only=True)
class Gold:
    """A gold set with the passages that it needs to be compared with training pairs.

    Attributes:
        gold: Judgments are on passages of the corpus.
        corpus: At least the relevant passages, and the one that is looked at, where its text is kept.
    """

    gold: GoldSet
    corpus: Corpus

    @classmethod
    def read(cls, reader: Reader, evaluation: Evaluation, beside: Collection[str] = ()) -> "Gold":
        """The gold set that an evaluation asked; relevant passages whose text was not kept are left out."""
        gold = reader.gold(evaluation.evaluation_id)
        relevant = {judgment.target_id for judgment in gold.judgments if judgment.grade > 0}
        return cls.of(gold, reader.passages(evaluation.evaluation_id, relevant | set(beside)))

    @classmethod
    def of(cls, gold: GoldSet, passages: Mapping[str, Passage]) -> "Gold":
        """A gold set with the passages that there are; judgments of others are left out."""
        judgments = tuple(judgment for judgment in gold.judgments if judgment.target_id in passages)
        kept = tuple(passages.values()) or (_stand_in("none", "none"),)
        return cls(gold=GoldSet(name=gold.name, queries=gold.queries, judgments=judgments), corpus=Corpus(name=gold.name, passages=kept))


def newest_per_gold_set(reader: Reader, experiment: str, corpus_fingerprint: str | None) -> tuple[Evaluation, ...]:
    """The newest evaluation of each gold set that models are tested on: of this experiment, or of any over this corpus; newest first."""
    newest = {
        evaluation.gold_fingerprint: evaluation
        for evaluation in reader.evaluations()
        if evaluation.experiment == experiment or evaluation.corpus_fingerprint == corpus_fingerprint
    }
    return tuple(sorted(newest.values(), key=lambda evaluation: evaluation.started_at, reverse=True))


def gold_leaks(
    wanted: Sequence[Curation], documents: Mapping[str, str], golds: Sequence[Gold], chosen: Sequence[Curation]
) -> dict[int, str]:
    """Why queries and their passages must not be trained on, by place; one against which nothing speaks has no entry.

    Args:
        wanted: Training pairs and hard negatives.
        documents: The document of a passage; a passage that is not in it stands alone.
        golds: What the experiment is tested on.
        chosen: What stands beside them; its judgments will be gold.
    """
    pairs = [pair_of(each, documents.get(each.passage_id, each.passage_id)) for each in wanted]
    found: dict[int, str] = {}
    for gold in (*golds, *_curated_gold(chosen)):
        leaks = find_leaks(pairs, gold=gold.gold, corpus=gold.corpus)
        for place, reason in leaks.reasons.items():
            found.setdefault(place, f"{reason} ({gold.gold.name})")
    asked = {
        place: f"its query is query {each.query_id!r} of the gold set" for place, each in enumerate(wanted) if each.query_id is not None
    }
    return found | asked


def pairs_touched(judgment: Curation, document_id: str, chosen: Sequence[Curation]) -> tuple[Curation, ...]:
    """Pairs and hard negatives among the chosen whose query or passage would be gold by this judgment."""
    others = [each for each in chosen if each.kind != "judgment"]
    gold = next(iter(_curated_gold([judgment], document_id)))
    leaks = find_leaks([pair_of(each, each.passage_id) for each in others], gold=gold.gold, corpus=gold.corpus)
    return tuple(others[place] for place in sorted(leaks.reasons))


def pair_of(curation: Curation, document_id: str) -> Pair:
    """A choice as a training pair."""
    return Pair(query=curation.query_text, passage=curation.passage_text, passage_id=curation.passage_id, document_id=document_id)


def _curated_gold(chosen: Sequence[Curation], document_id: str | None = None) -> tuple[Gold, ...]:
    """The judgments among the chosen as a gold set of their own; empty where there are none."""
    judged = [each for each in chosen if each.kind == "judgment"]
    if not judged:
        return ()
    ids = {text: f"q{number}" for number, text in enumerate(dict.fromkeys(each.query_text for each in judged))}
    gold = GoldSet(
        name="chosen for the gold set",
        queries=tuple(Query(query_id=query_id, text=text) for text, query_id in ids.items()),
        judgments=tuple(Judgment(query_id=ids[each.query_text], target_id=each.passage_id, grade=each.grade or 0) for each in judged),
    )
    passages = {each.passage_id: _stand_in(each.passage_id, each.passage_text, document_id) for each in judged if each.passage_text.strip()}
    return (Gold.of(gold, passages),)


def _stand_in(passage_id: str, text: str, document_id: str | None = None) -> Passage:
    return Passage(passage_id=passage_id, document_id=document_id or passage_id, text=text, start=0, end=len(text))


def trained_on(reader: Reader, url: str, evaluations: Sequence[Evaluation]) -> dict[str, frozenset[str]]:
    """Digests of the texts that the registered models of the newest evaluation were trained on, as far as the registry is at hand.

    Args:
        reader: Of the database at `url`.
        url: Where a file, the registry is looked for where both stood when the evaluation ran.
        evaluations: The newest first.
    """
    if not evaluations:
        return {}
    plan = reader.experiment_plan(evaluations[0].evaluation_id)
    folder = _registry_beside(url, plan.get("stores", {}))
    models = [arm["embedding"]["model"] for arm in plan.get("arms", ()) if arm["embedding"]["model"].startswith("registry:")]
    found: dict[str, frozenset[str]] = {}
    for reference in models if folder is not None else ():
        try:
            model = Registry(folder or Path()).get(reference)
        except ModelError:
            continue  # the registry is elsewhere: evaluation and export look there
        found[f"{model.name}@{model.version}"] = model.training_texts()
    return found


def texts_trained_on(curation: Curation, trained: frozenset[str]) -> list[str]:
    """`query`, `passage`, both or neither: what of a judgment is among training texts; a passage that is not relevant may be."""
    texts = {"query": curation.query_text, "passage": curation.passage_text if curation.grade else ""}
    return [name for name, text in texts.items() if text.strip() and text_digest(text) in trained]


def _registry_beside(url: str, stores: Mapping[str, Any]) -> Path | None:
    """The folder of the registry, which is given relative to the experiment file, as the database is; None where it can't be told."""
    registry, planned = str(stores.get("registry", "")), str(stores.get("sql", "")).partition(":///")[2]
    place = unquote(url.partition(":///")[2])
    if Path(registry).is_absolute():
        return Path(registry)
    if not registry or not url.startswith("sqlite") or not planned or not place.endswith(f"/{planned}"):
        return None
    return resolve_path(Path(place.removesuffix(planned)), registry)
