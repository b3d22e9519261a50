"""What operators chose, written as files that gold sets and training data are extended with."""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ragtrial.db.board_reader import BoardReader
from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.curation import Curation
from ragtrial.domain.gold import GoldSet, Judgment
from ragtrial.errors import InputError
from ragtrial.finetuning.leakage import normalise, text_digest
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.beir import write_judgments
from ragtrial.formats.experiment import ExperimentFile, load_experiment, sql_url
from ragtrial.formats.files import write_lines
from ragtrial.settings import Settings
from ragtrial.suite.curated_leaks import Gold, gold_leaks, texts_trained_on
from ragtrial.suite.preparing import load, surroundings

ERASED = "its live trial was erased"
NO_PASSAGE = "its passage is not in the corpus"
OTHER_TEXT = "the text of its passage has changed since"
SAID_ALREADY = "the gold set says so already"
CHOSEN_AGAIN = "the same was chosen again later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A choice with what became of its query.

    Attributes:
        curation: As it was chosen.
        text: `gold`: of a gold set. `full` or `redacted`: as the live log keeps it. `erased`: gone from there.
    """

    curation: Curation
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A choice as it is exported, or why it is not.

    Attributes:
        listed: What was chosen.
        query_id: Under which it is exported.
        passage: As it is in the corpus; None where it is not.
        new: The query is not in the gold set.
        replaces: The grade that the gold set gives the passage now, where that is another one.
        left_out: Why it is not exported; None where it is.
    """

    listed: Listed
    query_id: str
    passage: Passage | None
    new: bool
    replaces: int | None = None
    left_out: str | None = None

    @property
    def curation(self) -> Curation:
        """What was chosen."""
        return self.listed.curation


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        folder: Where.
        files: Names of the files in it.
        entries: Everything that stands, in the order in which it was chosen.
        warnings: What is to be known before the files are used.
    """

    folder: Path
    files: tuple[str, ...]
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]

    def kept(self, *kinds: str) -> tuple[Entry, ...]:
        """Those of these kinds that were written."""
        return tuple(each for each in self.entries if each.left_out is None and each.curation.kind in kinds)

    @property
    def left_out(self) -> dict[str, int]:
        """Those that were not, counted by reason."""
        return dict(Counter(each.left_out for each in self.entries if each.left_out is not None))


def listed(path: Path, *, history: bool = False) -> tuple[Listed, ...]:
    """What was chosen from pages of an experiment, in order; with `history` also what was taken back.

    Raises:
        InputError: The file is wrong.
        StoreError: There is no database yet.
    """
    return _listed(load_experiment(path), history=history)


def export(path: Path, output: Path, *, settings: Settings) -> Exported:
    """Write what stands as additions to the gold set and to the training data, with a line of provenance for each.

    The same choices give the same files. Pairs that touch the gold set as it is now, or a judgment among the choices, are left out.

    Args:
        path: The experiment file.
        output: A folder that is not there yet.
        settings: The environment.

    Raises:
        InputError: The folder is there, nothing was chosen, or the experiment's files are wrong.
    """
    file = load_experiment(path)
    if output.exists():
        raise InputError(f"{str(output)!r} is there already: give a folder that is not, for nothing is overwritten")
    entries = entries_of(file)
    names = _write(output, entries, file)
    return Exported(folder=output, files=names, entries=entries, warnings=tuple(_warnings(file, settings, entries)))


def entries_of(file: ExperimentFile) -> tuple[Entry, ...]:
    """Everything that stands, each with its passage, or why it is left out.

    Raises:
        InputError: Nothing was chosen, or the experiment's files are wrong.
        StoreError: There is no database yet.
    """
    chosen = _listed(file)
    if not chosen:
        raise InputError(f"nothing stands chosen for {file.experiment.name!r}: choose passages on a query's page (ragtrial dashboard)")
    corpus, gold, _ = load(file.experiment.data, file)
    return tuple(_entries(chosen, corpus, gold))


def _listed(file: ExperimentFile, *, history: bool = False) -> tuple[Listed, ...]:
    with BoardReader(sql_url(file)) as board, LiveReader(sql_url(file)) as live:
        chosen = board.curations(file.experiment.name, history=history)
        texts = {each.trial_id: _kept_text(live, each.trial_id) for each in chosen if each.trial_id is not None}
    return tuple(Listed(curation=each, text="gold" if each.trial_id is None else texts[each.trial_id]) for each in chosen)


def _kept_text(live: LiveReader, trial_id: str) -> str:
    trial = live.trial(trial_id)
    return "erased" if trial is None or trial.query.text is None else trial.query.stored


def _entries(chosen: Sequence[Listed], corpus: Corpus, gold: GoldSet) -> Iterator[Entry]:
    """In the order in which they were chosen."""
    by_text = {normalise(query.text): query.query_id for query in reversed(gold.queries)}
    known, qrels = {query.query_id for query in gold.queries}, gold.qrels()
    found: list[Entry] = []
    for each in chosen:
        curation = each.curation
        asked = curation.query_id if curation.query_id in known else by_text.get(normalise(curation.query_text))
        entry = Entry(
            listed=each,
            query_id=asked or curation.query_id or f"live-{text_digest(curation.query_text)[:12]}",
            passage=corpus.by_id.get(curation.passage_id),
            new=asked is None,
        )
        found.append(_checked(entry, qrels))
    last = {_what(each): place for place, each in enumerate(found) if each.left_out is None}
    once = [
        each if each.left_out is not None or last[_what(each)] == place else replace(each, left_out=CHOSEN_AGAIN)
        for place, each in enumerate(found)
    ]
    return _without_leaks(once, Gold(gold=gold, corpus=corpus))


def _what(entry: Entry) -> tuple[bool, str, str]:
    return entry.curation.kind == "judgment", entry.query_id, entry.curation.passage_id


def _checked(entry: Entry, qrels: Mapping[str, Mapping[str, int]]) -> Entry:
    curation = entry.curation
    if entry.listed.text == "erased":
        return replace(entry, left_out=ERASED)
    if entry.passage is None:
        return replace(entry, left_out=NO_PASSAGE)
    if curation.passage_text and curation.passage_text != entry.passage.content:
        return replace(entry, left_out=OTHER_TEXT)
    before = qrels.get(entry.query_id, {}).get(curation.passage_id) if curation.kind == "judgment" else None
    if before is not None and before == curation.grade:
        return replace(entry, left_out=SAID_ALREADY)
    return replace(entry, replaces=before)


def _without_leaks(entries: Sequence[Entry], gold: Gold) -> Iterator[Entry]:
    """The entries; pairs that touch the gold set or a judgment among them are left out."""
    places = [place for place, each in enumerate(entries) if each.curation.kind != "judgment" and each.left_out is None]
    whole = [_whole(entries[place]) for place in places]
    documents = {each.passage.passage_id: each.passage.document_id for each in entries if each.passage is not None}
    judged = [_whole(each) for each in entries if each.curation.kind == "judgment" and each.left_out in (None, SAID_ALREADY)]
    leaks = gold_leaks(whole, documents, [gold], judged)
    reasons = {places[place]: reason for place, reason in leaks.items()}
    return (replace(each, left_out=reasons[place]) if place in reasons else each for place, each in enumerate(entries))


def _whole(entry: Entry) -> Curation:
    """The choice with its passage's text, which the live log may not keep."""
    return entry.curation if entry.passage is None else replace(entry.curation, passage_text=entry.passage.content)


def _write(output: Path, entries: Sequence[Entry], file: ExperimentFile) -> tuple[str, ...]:
    """All of it or nothing."""
    experiment = file.experiment
    training = None if experiment.training is None else experiment.training.data
    split = "train" if training is None else training.split
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=output.absolute().parent, prefix=f".{output.name}."))
    except OSError as error:
        raise InputError(f"can't write {str(output)!r}: {error.strerror}; choose a folder that can be written to") from error
    try:
        kept = [each for each in entries if each.left_out is None]
        judged = [each for each in kept if each.curation.kind == "judgment"]
        trained = [each for each in kept if each.curation.kind != "judgment"]
        _write_beir(part / "gold", judged, experiment.data.split)
        _write_beir(part / "training", trained, split)
        _write_pairs(part / "training" / "pairs.jsonl", [each for each in trained if each.curation.kind == "pair"])
        write_lines(part / "provenance.jsonl", (_json(_provenance(each)) for each in entries))
        part.chmod(0o755)
        part.rename(output)
    except OSError as error:
        raise InputError(f"can't write {str(output)!r}: {error.strerror}; choose a folder that can be written to") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return tuple(sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()))


def _write_beir(folder: Path, entries: Sequence[Entry], split: str) -> None:
    """Queries that the gold set lacks, and judgments, as lines to add to a BEIR folder's; nothing where there are none."""
    if not entries:
        return
    texts = {each.query_id: each.curation.query_text for each in entries if each.new}
    if texts:
        write_lines(folder / "queries.jsonl", (_json({"_id": query_id, "text": text}) for query_id, text in texts.items()))
    write_judgments(folder, [_judgment(each) for each in entries], split)


def _judgment(entry: Entry) -> Judgment:
    """On the document, or on the span of it that the passage is: gold sets outlive any chunking."""
    curation, passage = entry.curation, entry.passage
    grade = curation.grade if curation.grade is not None else int(curation.kind == "pair")
    if passage is None or passage.passage_id == passage.document_id:
        return Judgment(query_id=entry.query_id, target_id=curation.passage_id, grade=grade)
    return Judgment(query_id=entry.query_id, target_id=passage.document_id, grade=grade, start=passage.start, end=passage.end)


def _write_pairs(path: Path, pairs: Sequence[Entry]) -> None:
    """As a table that `training.data` reads by itself (`format: table`), a row for each query; nothing where there are none."""
    rows: dict[str, dict[str, object]] = {}
    for each in pairs:
        passage = each.passage
        if passage is None:
            continue
        cut = passage.passage_id != passage.document_id
        row = rows.setdefault(each.query_id, {"id": each.query_id, "user_input": each.curation.query_text})
        targets = row.setdefault("reference_contexts" if cut else "reference_context_ids", [])
        if isinstance(targets, list):
            targets.append(passage.text if cut else passage.document_id)
    if rows:
        write_lines(path, map(_json, rows.values()))


def _provenance(entry: Entry) -> dict[str, object]:
    curation = entry.curation
    return {
        "number": curation.curation_id,
        "kind": curation.kind,
        "grade": curation.grade,
        "replaces_grade": entry.replaces,
        "left_out": entry.left_out,
        "query_id": entry.query_id,
        "query": None if entry.listed.text == "erased" else curation.query_text,
        "query_text": entry.listed.text,
        "passage_id": curation.passage_id,
        "evaluation_id": curation.evaluation_id,
        "trial_id": curation.trial_id,
        "actor": curation.actor,
        "at": curation.created_at,
        "note": curation.note,
    }


def _warnings(file: ExperimentFile, settings: Settings, entries: Iterable[Entry]) -> Iterator[str]:
    """Models that were trained on what becomes gold."""
    judged = [_whole(each) for each in entries if each.left_out is None and each.curation.kind == "judgment"]
    asked = {arm.embedding.model.removeprefix("registry:") for arm in file.experiment.arms if arm.embedding.model.startswith("registry:")}
    registry = Registry(surroundings(file, settings).registry)
    for model in registry.list() if judged else ():
        texts = model.training_texts()
        seen = sum(bool(texts_trained_on(each, texts)) for each in judged)
        aliases = registry.records(model.name).aliases_of(model.version)
        if seen and asked & {model.name, model.reference, *(f"{model.name}@{alias}" for alias in aliases)}:
            yield f"{model.name}@{model.version} was trained on the query or passage of {seen} of {len(judged)} judgments: its evaluation will be refused"


def _json(record: Mapping[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False)
