"""`ragtrial import`: another program's data set as a gold set, another program's scores as a table of scores."""

import dataclasses
import hashlib
import json
import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ragtrial import __version__
from ragtrial.domain.corpus import Document
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.errors import InputError
from ragtrial.formats.beir import write_beir
from ragtrial.formats.files import write_lines
from ragtrial.formats.foreign_scores import ForeignScores, promptfoo_summary, promptfoo_tests, read_langfuse, read_promptfoo, score_lines
from ragtrial.formats.foreign_sets import Example, Fields, read_examples
from ragtrial.formats.tables import load_table
from ragtrial.formats.validation import DataSet, Findings, fault_in

Kind = Literal["phoenix", "langfuse", "langfuse-scores", "ragas", "promptfoo"]

_NOTHING_RELEVANT = "names nothing that answers it (no reference contexts or ids)"
_SPLIT = "test"


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import came to.

    Attributes:
        folder: Where it was written.
        kind: Of the file.
        n_rows: Rows read.
        n_queries: Of the gold set.
        n_passages: Of its corpus; those of the corpus that was given, where one was.
        n_judgments: Of the gold set.
        n_unjudged: Passages of the corpus that nobody judged.
        left_out: By reason, how many rows, and the first of them.
        answered: Questions with a reference answer and nothing that answers them, kept apart in `answered.jsonl`.
        scores: Of a report; None where there are none.
        notes: What one should know before trusting it.
    """

    folder: Path
    kind: str
    n_rows: int = 0
    n_queries: int = 0
    n_passages: int = 0
    n_judgments: int = 0
    n_unjudged: int = 0
    left_out: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    answered: int = 0
    scores: ForeignScores | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For `--json` and `import.json`; scores are counted, their rows lie in their file."""
        plain = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name not in ("folder", "scores")}
        plain["left_out"] = {reason: {"rows": n, "first": first} for reason, (n, first) in self.left_out.items()}
        if self.scores is not None:
            found = self.scores
            plain["scores"] = {
                "systems": list(found.systems),
                "metrics": list(found.metrics),
                "questions": found.n_questions,
                "missing": dict(found.missing),
                "errors": dict(found.errors),
                "notes": list(found.notes),
            }
        return plain


def import_file(
    kind: Kind,
    path: Path,
    folder: Path,
    *,
    corpus: Path | None = None,
    runs: Path | None = None,
    fields: Fields = Fields(),  # noqa: B008 - frozen
    retrieved_answer: bool = False,
) -> Imported:
    """Read the file, and write what can be used of it into a new folder, with `import.json` beside it; all of it, or nothing.

    Args:
        kind: Which program's file it is.
        path: The file.
        folder: Must not exist, or be empty.
        corpus: The documents that ids and contexts refer to; without it the corpus is made of the contexts.
        runs: langfuse-scores: the items of the dataset runs.
        fields: Names of fields that are not the usual ones.
        retrieved_answer: Take the contexts that a system retrieved for relevant, as if a person had judged them.

    Raises:
        InputError: The file is faulty, holds nothing that can be used, or the folder is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{str(folder)!r} is there already and holds something: give --output a new folder")
    parent = folder.resolve().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise InputError(f"can't write to {str(parent)!r}: {error.strerror}; give --output another folder") from error
    try:
        made = _made(kind, path, work, corpus=corpus, runs=runs, fields=fields, retrieved_answer=retrieved_answer)
        made = dataclasses.replace(made, folder=folder)
        origin = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "ragtrial": __version__}
        write_lines(work / "import.json", [json.dumps({**origin, **made.as_dict()}, indent=2, ensure_ascii=False)])
        work.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return made


def _made(
    kind: Kind, path: Path, work: Path, *, corpus: Path | None, runs: Path | None, fields: Fields, retrieved_answer: bool
) -> Imported:
    findings = Findings()
    if kind == "langfuse-scores":
        if runs is None:
            raise InputError("langfuse-scores needs --runs: the dataset run items, which say what trace belongs to which item and run")
        scores = _written(findings.require(read_langfuse(path, runs, findings)), work, path)
        return Imported(folder=work, kind=kind, n_rows=len(scores.scores), scores=scores)
    summary = promptfoo_summary(path, findings) if kind == "promptfoo" else None
    if findings.problems:
        findings.require(None)
    if summary is None:
        examples, left_out = read_examples(kind, path, fields, findings)
        return _gold(kind, path, work, examples, left_out, findings, corpus=corpus, retrieved_answer=retrieved_answer)
    scores = _written(findings.require(read_promptfoo(summary, path, findings)), work, path)
    cases = work / "cases.jsonl"
    write_lines(cases, [json.dumps(case, ensure_ascii=False) for case in promptfoo_tests(summary)])
    examples, left_out = read_examples("promptfoo", cases, fields, findings)
    cases.unlink()
    usable = any(example.judged or example.ids or example.answers or (retrieved_answer and example.retrieved) for example in examples)
    if not usable:  # scores alone are worth having
        return Imported(folder=work, kind=kind, n_rows=len(examples) + len(left_out), scores=scores, left_out=_counted(left_out))
    made = _gold(kind, path, work, examples, left_out, findings, corpus=corpus, retrieved_answer=retrieved_answer)
    return dataclasses.replace(made, scores=scores)


def _written(scores: ForeignScores, work: Path, path: Path) -> ForeignScores:
    if not scores.scores:
        raise InputError(f"{str(path)!r} holds no score of a dataset run or test: nothing was written")
    write_lines(work / "scores.jsonl", score_lines(scores.scores))
    return scores


def _gold(
    kind: Kind,
    path: Path,
    work: Path,
    examples: Sequence[Example],
    left_out: Sequence[tuple[str, str]],
    findings: Findings,
    *,
    corpus: Path | None,
    retrieved_answer: bool,
) -> Imported:
    """Write the gold set and its corpus."""
    findings.require(())
    n_rows = len(examples) + len(left_out)
    if retrieved_answer:
        examples = [dataclasses.replace(one, judged=(*one.judged, *one.retrieved), retrieved=()) for one in examples]
    usable = [one for one in examples if (one.ids if corpus is not None else ()) or one.judged]
    bare = [one for one in examples if one not in usable]
    reasons = [*left_out, *((_why_bare(one), one.place) for one in bare)]
    answered = [one for one in bare if one.answers]
    if not usable and not answered:
        told = "; ".join(f"{reason}: {n} (first {first})" for reason, (n, first) in _counted(reasons).items())
        raise InputError(f"{str(path)!r} holds nothing that can be used: {told or 'it has no rows'}; nothing was written")
    if answered:
        rows = ({"id": one.query_id, "user_input": one.text, "reference": one.answers[0]} for one in answered)
        write_lines(work / "answered.jsonl", [json.dumps(row, ensure_ascii=False) for row in rows])
    data = None if not usable else _from_contexts(path, usable) if corpus is None else _in_corpus(work, path, usable, corpus)
    notes: list[str] = []
    if data is not None:
        write_beir(work, data.documents, data.gold, _SPLIT)
        notes += [str(warning) for warning in data.warnings]
        if corpus is None:
            notes.append(
                "the corpus holds only what this file quotes, so that finding is easier in it than in yours: give your documents with --corpus"
            )
        if retrieved_answer:
            notes.append("what a system retrieved was taken for relevant, so that system's arm can't lose: let people judge")
    judged = set() if data is None else {judgment.target_id for judgment in data.gold.judgments}
    return Imported(
        folder=work,
        kind=kind,
        n_rows=n_rows,
        n_queries=0 if data is None else len(data.gold.queries),
        n_passages=0 if data is None else len(data.documents),
        n_judgments=0 if data is None else len(data.gold.judgments),
        n_unjudged=0 if data is None else sum(document.document_id not in judged for document in data.documents),
        left_out=_counted(reasons),
        answered=len(answered),
        notes=tuple(notes),
    )


def _why_bare(example: Example) -> str:
    return "names ids, and there is no corpus that they are of (--corpus)" if example.ids else _NOTHING_RELEVANT


def _counted(left_out: Sequence[tuple[str, str]]) -> dict[str, tuple[int, str]]:
    first: dict[str, str] = {}
    for reason, place in left_out:
        first.setdefault(reason, place)
    return {reason: (n, first[reason]) for reason, n in Counter(reason for reason, _ in left_out).most_common()}


def _from_contexts(path: Path, examples: Sequence[Example]) -> DataSet:
    """A gold set whose corpus is what the file quotes: each text once, its id a digest of it, or the id that the file gives beside it."""
    documents: dict[str, Document] = {}
    judgments: dict[tuple[str, str], Judgment] = {}
    by_text: dict[str, str] = {}
    for one in examples:
        named = dict(zip(one.judged, one.ids, strict=True)) if len(one.ids) == len(one.judged) else {}
        for text in (*one.judged, *one.retrieved):
            flat = " ".join(text.split())
            name = by_text.setdefault(flat, _id(named[text]) if text in named else f"c-{digest(flat, length=12)}")
            if name in documents and " ".join(documents[name].text.split()) != flat:
                raise InputError(f"{one.place}: the id {name!r} stands beside two different contexts: mend the ids, or give --corpus")
            documents.setdefault(name, Document(document_id=name, text=text))
            if text in one.judged:
                judgments[one.query_id, name] = Judgment(query_id=one.query_id, target_id=name, grade=1)
    for one in examples:
        _sound(one)
    queries = tuple(Query(query_id=one.query_id, text=one.text, answers=one.answers, tags=one.tags) for one in examples)
    gold = GoldSet(name=path.stem, queries=queries, judgments=tuple(judgments.values()))
    return DataSet(name=path.stem, documents=tuple(documents.values()), gold=gold)


def _id(text: str) -> str:
    return "_".join(text.split())


def _sound(one: Example) -> None:
    """Raises: InputError: A text that no file of ours could hold."""
    for text in (one.query_id, one.text, *one.answers, *one.judged, *one.retrieved):
        if (fault := fault_in(text)) is not None:
            raise InputError(f"{one.place}: {fault}")


def _in_corpus(work: Path, path: Path, examples: Sequence[Example], corpus: Path) -> DataSet:
    """A gold set on documents that are there: ids must be of them, and contexts must stand in them, white space aside."""
    table = work / f"{path.stem}.jsonl"
    rows = (
        {
            "id": one.query_id,
            "user_input": one.text,
            "reference": list(one.answers),
            **({"reference_context_ids": list(one.ids)} if one.ids else {"reference_contexts": list(one.judged)}),
            "tags": dict(one.tags),
        }
        for one in examples
    )
    write_lines(table, [json.dumps(row, ensure_ascii=False) for row in rows])
    try:
        return load_table(table, corpus)
    finally:
        table.unlink(missing_ok=True)


def lines_of(made: Imported) -> list[str]:
    """The import in plain text."""
    lines = []
    if made.n_queries:
        lines.append(
            f"{made.n_queries:,} queries with {made.n_judgments:,} judgments on {made.n_passages:,} passages ({made.n_unjudged:,} of them "
            f"unjudged), from {made.n_rows:,} rows"
        )
    lines += [f"left out: {n:,} of {made.n_rows:,} rows: {reason}, the first in {first}" for reason, (n, first) in made.left_out.items()]
    if made.answered:
        lines.append(f"{made.answered:,} questions with an answer and nothing that answers them are kept in answered.jsonl")
    if made.scores is not None:
        found = made.scores
        lines.append(f"{found.n_questions:,} questions, scores {', '.join(found.metrics)} of {', '.join(found.systems)}")
        lines += [
            f"missing: {n:,} of {found.n_questions:,} questions of {system} are not in the report" for system, n in found.missing.items()
        ]
        lines += [f"errors: {n:,} of {found.n_questions:,} questions of {system} ended in an error" for system, n in found.errors.items()]
        lines += [f"note: {note}" for note in found.notes]
    lines += [f"note: {note}" for note in made.notes]
    if made.n_queries:
        lines.append(f"next: in an experiment file, data: {{format: beir, path: {made.folder}, split: {_SPLIT}}}")
    if made.scores is not None and len(made.scores.systems) > 1:
        first, second, *_ = made.scores.systems
        table, named = shlex.quote(str(made.folder / "scores.jsonl")), f"--baseline {shlex.quote(first)} --custom {shlex.quote(second)}"
        lines.append(f"next: ragtrial compare --scores {table} {named} -m {shlex.quote(made.scores.metrics[0])}")
    return lines
