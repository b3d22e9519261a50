"""Where pairs come from: one function for each source, over an experiment with its material."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ragtrial.contracts import Progress
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_votes_reader import LiveVotesReader
from ragtrial.domain.data import DataSpec
from ragtrial.domain.pair import Pair
from ragtrial.errors import InputError
from ragtrial.finetuning.gathering import Gathered
from ragtrial.finetuning.leakage import normalise, text_digest
from ragtrial.finetuning.pairs import training_pairs
from ragtrial.finetuning.structure import definition_pairs, heading_pairs, title_pairs
from ragtrial.finetuning.votes import NO_POSITIVE, OTHER_CORPUS, VoteRules, vote_pairs
from ragtrial.formats.experiment import sql_url
from ragtrial.formats.tables import load_answered, names_passages
from ragtrial.suite.curated_export import Entry, entries_of
from ragtrial.suite.gold_leaks import Gold
from ragtrial.suite.pair_material import Material, judged_pairs
from ragtrial.suite.pair_writing import Writing, write
from ragtrial.suite.preparing import Prepared, load

if TYPE_CHECKING:
    from ragtrial.suite.pairing import Source

NO_CONSENT = (
    "votes are used for training only where users agreed to that: say how they did, e.g. --consent 'terms of use of 2026-05, section 4'; it is "
    "noted with each pair"
)


@dataclass(frozen=True, kw_only=True)
class VoteOptions:
    """How votes are used.

    Attributes:
        consent: How users agreed; None: they did not, and votes can't be used.
        cap: Most opinions of one user, up and down apart.
        least_users: Users who must speak for a pair.
        also: Names of further experiments of the same database whose votes count, as the shadow runs of earlier candidates.
    """

    consent: str | None = None
    cap: int = 20
    least_users: int = 1
    also: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every source may need.

    Attributes:
        prepared: The experiment.
        material: The corpus to make pairs from.
        gold: What must not be touched.
        seed: Of samples.
        say: Told what slows calls down.
        progress: Told what takes long.
    """

    prepared: Prepared
    material: Material
    gold: Gold
    seed: int
    say: Callable[[str], None]
    progress: Progress


def gather(source: "Source", context: Context, *, questions: Sequence[Path], writing: Writing, votes: VoteOptions) -> Gathered:
    """The pairs of one source.

    Raises:
        InputError: The source lacks what it needs.
        StoppedError: Calls to an LLM had to stop.
    """
    prepared, material = context.prepared, context.material
    match source:
        case "judgments":
            return _judgments(prepared)
        case "questions":
            return _questions(context, questions)
        case "titles":
            return title_pairs(material.documents, material.passages)
        case "headings":
            return heading_pairs(material.documents, material.passages)
        case "definitions":
            return definition_pairs(material.documents, material.passages)
        case "synthetic":
            return write(prepared, material, context.gold, writing, seed=context.seed, say=context.say, progress=context.progress)
        case "votes":
            return _votes(prepared, votes)
        case "curated":
            return _curated(prepared)


def _judgments(prepared: Prepared) -> Gathered:
    """A pair for each relevant judgment; where several grades are relevant, scored by them; what is judged 0 is a hard negative."""
    training = prepared.experiment.training
    if training is None or training.data is None:
        raise InputError(f"{prepared.file.path}: --from judgments needs training.data, whose judgments become pairs")
    corpus, gold, _ = load(training.data, prepared.file)
    qrels = gold.qrels()
    judged = [(query.query_id, grade) for query in gold.queries for grade in qrels[query.query_id].values() if grade > 0]
    grades = {grade for _, grade in judged}
    wrong = {
        query_id: tuple(corpus.by_id[passage_id].content for passage_id, grade in found.items() if grade == 0)
        for query_id, found in qrels.items()
    }
    pairs = [
        dataclasses.replace(pair, negatives=wrong[query_id], score=grade / max(grades) if len(grades) > 1 else None)
        for pair, (query_id, grade) in zip(training_pairs(corpus, gold), judged, strict=True)
    ]
    return Gathered(pairs=tuple(pairs), facts={"judged as not relevant": sum(map(len, wrong.values()))})


def _questions(context: Context, tables: Sequence[Path]) -> Gathered:
    if not tables:
        raise InputError("--from questions needs a table of questions: give --questions FILE (.csv, .jsonl or .parquet)")
    pairs = [pair for table in tables for pair in _of_table(context, table)]
    return Gathered(pairs=tuple(pairs), facts={"tables": len(tables)})


def _of_table(context: Context, table: Path) -> list[Pair]:
    """Questions with the passages that the table names; where it names none, with their answers."""
    provenance = {"table": table.name}
    if names_passages(table):
        spec = DataSpec(format="table", path=str(table.absolute()), corpus=str(context.material.path.absolute()))
        corpus, gold, _ = load(spec, context.prepared.file)
        return [dataclasses.replace(pair, origin="question", provenance=provenance) for pair in training_pairs(corpus, gold)]
    return [
        Pair(
            query=query.text,
            passage=answer,
            passage_id=f"answer-{text_digest(answer)[:12]}",
            document_id=query.cluster or f"answer-{text_digest(answer)[:12]}",
            source=query.cluster,
            origin="question",
            provenance={**provenance, "row": query.query_id, "passage_is": "the answer"},
        )
        for query in load_answered(table)
        for answer in query.answers
    ]


def _votes(prepared: Prepared, options: VoteOptions) -> Gathered:
    if not (options.consent or "").strip():
        raise InputError(NO_CONSENT)
    names, url = dict.fromkeys((prepared.experiment.name, *options.also)), sql_url(prepared.file)
    with LiveReader(url) as log, LiveVotesReader(url) as reader:
        plans = {each.live_id: each for each in log.experiments() if each.name in names}
        voted = [each for name in names for each in reader.voted(name)]
    same = {live_id for live_id, plan in plans.items() if plan.facts.get("corpus_fingerprint") == prepared.corpus.fingerprint}
    try:
        rules = VoteRules(
            consent=options.consent or "",
            cap=options.cap,
            least_users=options.least_users,
            solicit={live_id: plan.plan["live"]["solicit"] for live_id, plan in plans.items()},
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    made = vote_pairs([each for each in voted if each.live_id in same], prepared.corpus, judged_pairs(prepared), rules)
    others = sum(each.live_id not in same for each in voted)
    return made if not others else dataclasses.replace(made, left_out={**made.left_out, OTHER_CORPUS: others})


def _curated(prepared: Prepared) -> Gathered:
    """What operators chose: pairs, and hard negatives for queries that have a pair or a training judgment."""
    entries = [each for each in entries_of(prepared.file) if each.curation.kind != "judgment"]
    left_out = Counter(each.left_out for each in entries if each.left_out is not None)
    kept = [each for each in entries if each.left_out is None and each.passage is not None]
    pairs = [_pair(each) for each in kept if each.curation.kind == "pair"]
    judged = [dataclasses.replace(pair, origin="curated") for pair in judged_pairs(prepared)]
    hard: dict[str, list[Entry]] = {}
    for each in kept:
        if each.curation.kind == "hard negative":
            hard.setdefault(normalise(each.curation.query_text), []).append(each)
    asked = {normalise(pair.query) for pair in pairs}
    pairs += [pair for pair in judged if normalise(pair.query) in hard.keys() - asked]
    asked |= {normalise(pair.query) for pair in judged}
    without = sum(len(group) for query, group in hard.items() if query not in asked)
    if without:
        left_out[NO_POSITIVE] += without
    return Gathered(pairs=tuple(_with(pair, hard.get(normalise(pair.query), ())) for pair in pairs), left_out=dict(left_out))


def _pair(entry: Entry) -> Pair:
    curation, passage = entry.curation, entry.passage
    return Pair(
        query=curation.query_text,
        passage="" if passage is None else passage.content,
        passage_id=curation.passage_id,
        document_id=curation.passage_id if passage is None else passage.document_id,
        origin="curated",
        provenance={"choice": curation.curation_id, "actor": curation.actor, "at": curation.created_at, "note": curation.note},
    )


def _with(pair: Pair, negatives: Sequence[Entry]) -> Pair:
    if not negatives:
        return pair
    texts = tuple(each.passage.content for each in negatives if each.passage is not None)
    chosen = [{"choice": each.curation.curation_id, "actor": each.curation.actor} for each in negatives]
    return dataclasses.replace(pair, negatives=texts, provenance={**pair.provenance, "negatives": chosen})
