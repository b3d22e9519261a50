"""BEIR folders: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`, and our own `spans/<split>.tsv`.

Layout after Thakur et al. 2021, "BEIR: A heterogeneous benchmark for zero-shot evaluation of information retrieval models".
A span file judges runs of characters of a document (`query-id  doc-id  start  end  score`, with header), which survive re-chunking.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ragtrial.domain.corpus import Document
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.formats.files import read_lines, write_lines
from ragtrial.formats.judgments import QRELS, SPANS, Row, check_rows, gold_set, read_judgments
from ragtrial.formats.records import Queries, read_queries
from ragtrial.formats.shards import read_corpus
from ragtrial.formats.validation import DataSet, Findings, Report

_JUDGMENT_FOLDERS = {"qrels": QRELS, "spans": SPANS}


def load_beir(folder: Path, split: str = "test", *, all_queries: bool = False, corpus: Path | str | None = None) -> DataSet:
    """The documents of a BEIR folder and the gold set of one split.

    Args:
        folder: Holds `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv` or `spans/<split>.tsv` or both.
        split: Which judgments.
        all_queries: Take queries without a judgment in this split into the gold set too (by BEIR's convention they aren't of it).
        corpus: Another place of the documents, as for `formats.shards.read_corpus`; None: the folder's own `corpus.jsonl`.

    Raises:
        ValidationError: With every problem that `check_beir` reports.
    """
    findings = Findings()
    return findings.require(_read(folder, split, all_queries, findings, corpus))


def check_beir(folder: Path, split: str = "test", *, corpus: Path | str | None = None) -> Report:
    """Everything that is wrong or odd in a BEIR folder, without stopping at the first."""
    findings = Findings()
    _read(folder, split, False, findings, corpus)
    return findings.report()


def _read(folder: Path, split: str, all_queries: bool, findings: Findings, corpus: Path | str | None) -> DataSet | None:
    if not folder.is_dir():
        findings.problem("there is no such folder: a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/<split>.tsv", path=str(folder))
        return None
    documents = read_corpus(folder / "corpus.jsonl" if corpus is None else corpus, findings)
    queries = read_queries(folder / "queries.jsonl", findings)
    rows = _rows(folder, split, findings)
    judgments = check_rows(rows, queries, documents, findings)
    judged = {judgment.query_id for judgment in judgments}
    _warn_unjudged(folder, split, queries, judged, findings)
    chosen = [query for query_id, query in queries.sound.items() if all_queries or query_id in judged]
    name = folder.resolve().name
    gold = gold_set(f"{name}/{split}", chosen, judgments, folder, findings)
    if gold is None:
        return None
    return DataSet(name=name, documents=tuple(documents.sound.values()), gold=gold, warnings=tuple(findings.warnings))


def _rows(folder: Path, split: str, findings: Findings) -> list[Row]:
    files = {folder / kind / f"{split}.tsv": columns for kind, columns in _JUDGMENT_FOLDERS.items()}
    there = {path: columns for path, columns in files.items() if path.exists()}
    if not there:
        splits = sorted({path.stem for kind in _JUDGMENT_FOLDERS for path in (folder / kind).glob("*.tsv")})
        message = f"there is no split {split!r}: expected qrels/{split}.tsv or spans/{split}.tsv; found {', '.join(splits) or 'no split'}"
        findings.problem(message, path=str(folder))
    return [row for path, columns in there.items() for row in read_judgments(path, columns, findings)]


def _warn_unjudged(folder: Path, split: str, queries: Queries, judged: set[str], findings: Findings) -> None:
    """Count the queries that no split judges; the other splits are read for their query ids only."""
    elsewhere: set[str] = set()
    for kind in _JUDGMENT_FOLDERS:
        for path in (folder / kind).glob("*.tsv"):
            if path.stem != split:
                elsewhere.update(line.split("\t", 1)[0].strip() for _, line in read_lines(path, Findings()) or [])
    without = [query_id for query_id in queries.known if query_id not in judged and query_id not in elsewhere]
    if without:
        message = f"no split judges {len(without)} of {len(queries.known)} queries, e.g. {without[0]!r}: not used"
        findings.warn(message, path=str(queries.path), line=queries.known[without[0]])


def derive_clusters(gold: GoldSet, documents: Sequence[Document]) -> GoldSet:
    """The gold set with a cluster for each query that has none: what its best-graded document belongs to.

    Queries made from one document are not independent. The cluster is the group, or else the id, of the document with the highest
    grade above 0 (ties: the one that stands first in the corpus). A query with nothing relevant among `documents` stays without.

    Args:
        gold: Judged on documents or spans, not yet resolved to passages.
        documents: The corpus.
    """
    place = {document.document_id: number for number, document in enumerate(documents)}
    best: dict[str, tuple[int, int]] = {}
    for judgment in gold.judgments:
        if judgment.grade > 0 and judgment.target_id in place:
            candidate = (-judgment.grade, place[judgment.target_id])
            best[judgment.query_id] = min(candidate, best.get(judgment.query_id, candidate))

    def clustered(query: Query) -> Query:
        if query.cluster is not None or query.query_id not in best:
            return query
        document = documents[best[query.query_id][1]]
        return dataclasses.replace(query, cluster=document.group or document.document_id)

    return dataclasses.replace(gold, queries=tuple(clustered(query) for query in gold.queries))


def write_beir(folder: Path, documents: Iterable[Document], gold: GoldSet, split: str = "test") -> None:
    """Write a BEIR folder that `load_beir` reads back as it was; files of the same name are replaced, other splits are kept.

    Raises:
        InputError: The folder can't be written to.
    """
    write_lines(folder / "corpus.jsonl", (_json(_document_record(document)) for document in documents))
    write_lines(folder / "queries.jsonl", (_json(_query_record(query)) for query in gold.queries))
    write_judgments(folder, gold.judgments, split)


def write_judgments(folder: Path, judgments: Iterable[Judgment], split: str) -> None:
    """Write `qrels/<split>.tsv` and `spans/<split>.tsv`, whichever there are judgments for; the other one is removed.

    Raises:
        InputError: The folder can't be written to.
    """
    qrels, spans = ["\t".join(QRELS)], ["\t".join(SPANS)]
    for judgment in judgments:
        if judgment.start is None:
            qrels.append(f"{judgment.query_id}\t{judgment.target_id}\t{judgment.grade}")
        else:
            spans.append(f"{judgment.query_id}\t{judgment.target_id}\t{judgment.start}\t{judgment.end}\t{judgment.grade}")
    for kind, lines in (("qrels", qrels), ("spans", spans)):
        path = folder / kind / f"{split}.tsv"
        if len(lines) > 1:
            write_lines(path, lines)
        else:
            path.unlink(missing_ok=True)


def _document_record(document: Document) -> dict[str, object]:
    record: dict[str, object] = {"_id": document.document_id, "title": document.title, "text": document.text}
    return record if document.group is None else record | {"doc": document.group}


def _query_record(query: Query) -> dict[str, object]:
    record: dict[str, object] = {"_id": query.query_id, "text": query.text}
    optional = {"answers": list(query.answers), "cluster": query.cluster, "tags": dict(query.tags)}
    return record | {key: value for key, value in optional.items() if value}


def _json(record: dict[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False)
