"""TREC qrels and run files, written so that trec_eval ranks exactly as we do.

trec_eval ignores the rank column: it sorts by score, read as a 32-bit float, and breaks ties by DESCENDING document id
(trec_eval 9, `form_res_rels.c`). So a run written here has strictly decreasing float32 scores within each query.
"""

import math
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ragtrial.errors import InputError
from ragtrial.formats.files import read_lines, write_lines
from ragtrial.formats.judgments import Row, check_rows, gold_set, judgment_row
from ragtrial.formats.records import read_queries
from ragtrial.formats.shards import read_corpus
from ragtrial.formats.validation import DataSet, Findings, Report, shortened

RankedPassages = Sequence[tuple[str, float]]


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """`{query_id: {document_id: grade}}` of a qrels file (`query_id iteration document_id grade`), in the order of the file.

    Raises:
        ValidationError: With every line that has another form, a negative grade, or contradicts an earlier one.
    """
    findings = Findings()
    table: dict[str, dict[str, int]] = {}
    for row in read_qrel_rows(path, findings):
        judgment = row.judgment
        grades = table.setdefault(judgment.query_id, {})
        if grades.setdefault(judgment.target_id, judgment.grade) != judgment.grade:
            message = f"{judgment.grade} contradicts {grades[judgment.target_id]} of an earlier line: keep one of them"
            findings.problem(message, path=str(path), line=row.line, field="score")
    return findings.require(table)


def read_qrel_rows(path: Path, findings: Findings) -> list[Row]:
    """The judgments of a qrels file with their lines; faulty ones are noted and left out."""
    lines = read_lines(path, findings)
    if lines == []:
        findings.problem("holds no judgment: give one a line, query_id 0 document_id grade", path=str(path))
    rows = []
    for number, line in lines or []:
        cells = line.split()
        if len(cells) != 4:
            message = f"has {len(cells)} columns: expected 4, query_id 0 document_id grade"
            findings.problem(message, path=str(path), line=number)
            continue
        values = {"query-id": cells[0], "corpus-id": cells[2], "score": cells[3]}
        rows.append(judgment_row(values, path, number, findings))
    return [row for row in rows if row is not None]


def write_qrels(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgments (`GoldSet.qrels()` of a gold set resolved to passages). White space in ids is percent-encoded.

    Raises:
        InputError: The folder can't be written to.
    """
    judged = ((query_id, target, grade) for query_id, grades in qrels.items() for target, grade in grades.items())
    write_lines(path, (f"{_word(query_id)} 0 {_word(target)} {grade}" for query_id, target, grade in judged))


def write_run(path: Path, rankings: Mapping[str, RankedPassages], tag: str) -> None:
    """Write rankings, best first, so that trec_eval, pytrec_eval and ir_measures see exactly this order.

    The score is the similarity (as float32, 9 significant digits, which name a float32 exactly) where similarities strictly decrease
    as float32. Otherwise all scores of that query count down to 1 by rank. The rank column counts from 1.
    A query without hits has no line, which trec_eval leaves out of its means: count it as 0 (`trec_eval -c`).
    White space in ids is percent-encoded, here and in `write_qrels` alike.

    Args:
        path: The file.
        rankings: Passage ids with their similarities for each query, best first.
        tag: Name of the run, e.g. the arm's.

    Raises:
        InputError: A query's ranking holds a passage twice, or the folder can't be written to.
    """
    lines: list[str] = []
    for query_id, ranked in rankings.items():
        passage_ids = [_word(passage_id) for passage_id, _ in ranked]
        if len(set(passage_ids)) != len(passage_ids):
            raise InputError(f"the ranking of query {query_id!r} holds a passage twice: a TREC run can't")
        scores = run_scores([similarity for _, similarity in ranked])
        rows = zip(passage_ids, range(1, len(ranked) + 1), scores, strict=True)
        lines += [f"{_word(query_id)} Q0 {passage_id} {rank} {score} {_word(tag)}" for passage_id, rank, score in rows]
    write_lines(path, lines)


def run_scores(similarities: Sequence[float]) -> list[str]:
    """The scores that `write_run` writes for these similarities, best first."""
    with np.errstate(over="ignore"):
        scores = np.array(similarities, dtype=np.float64).astype(np.float32)
    if np.isfinite(scores).all() and (scores[1:] < scores[:-1]).all():
        return [f"{score:.9g}" for score in scores]
    return [str(len(scores) - place) for place in range(len(scores))]


def read_run(path: Path) -> dict[str, RankedPassages]:
    """The rankings of a run file (`query_id Q0 document_id rank score tag`), in the order in which trec_eval sees them.

    Returns:
        For each query, in order of appearance, (id, score) by float32 score, ties by descending id; the rank column is not used.

    Raises:
        ValidationError: With every line that has another form, a score that is no finite number, or a document twice.
    """
    findings = Findings()
    hits: dict[str, dict[str, float]] = {}
    lines = read_lines(path, findings)
    if lines == []:
        findings.problem("holds no ranking: give one hit a line, query_id Q0 document_id rank score tag", path=str(path))
    for number, line in lines or []:
        cells = line.split()
        if len(cells) != 6:
            message = f"has {len(cells)} columns: expected 6, query_id Q0 document_id rank score tag"
            findings.problem(message, path=str(path), line=number)
            continue
        score = _score(cells[4])
        if score is None:
            findings.problem(f"{shortened(cells[4])} is no finite number", path=str(path), line=number, field="score")
        elif cells[2] in hits.setdefault(cells[0], {}):
            message = f"{cells[2]!r} stands in the ranking of {cells[0]!r} already"
            findings.problem(message, path=str(path), line=number, field="document_id")
        else:
            hits[cells[0]][cells[2]] = score
    return findings.require({query_id: _ranked(scores) for query_id, scores in hits.items()})


def _score(text: str) -> float | None:
    try:
        with np.errstate(over="ignore"):
            score = float(np.float32(float(text)))
    except ValueError:
        return None
    return score if math.isfinite(score) else None


def _ranked(scores: Mapping[str, float]) -> RankedPassages:
    descending_ids = sorted(scores.items(), key=lambda item: item[0].encode(), reverse=True)
    return tuple(sorted(descending_ids, key=lambda item: -item[1]))


def _word(text: str) -> str:
    """The text without white space, which separates the columns."""
    return "".join(urllib.parse.quote(character) if character.isspace() else character for character in text)


def read_trec(qrels: Path, corpus: Path | str, queries: Path, findings: Findings) -> DataSet | None:
    """A corpus and a gold set whose judgments are a TREC qrels file; None where there are problems, which are noted."""
    documents = read_corpus(corpus, findings)
    asked = read_queries(queries, findings)
    judgments = check_rows(read_qrel_rows(qrels, findings), asked, documents, findings)
    judged = {judgment.query_id for judgment in judgments}
    gold = gold_set(qrels.stem, (q for query_id, q in asked.sound.items() if query_id in judged), judgments, qrels, findings)
    if gold is None:
        return None
    return DataSet(name=qrels.stem, documents=tuple(documents.sound.values()), gold=gold, warnings=tuple(findings.warnings))


def load_trec(qrels: Path, corpus: Path | str, queries: Path) -> DataSet:
    """A BEIR corpus and queries file with TREC judgments.

    Raises:
        ValidationError: With every problem that `check_trec` reports.
    """
    findings = Findings()
    return findings.require(read_trec(qrels, corpus, queries, findings))


def check_trec(qrels: Path, corpus: Path | str, queries: Path) -> Report:
    """Everything that is wrong or odd in these three files."""
    findings = Findings()
    read_trec(qrels, corpus, queries, findings)
    return findings.report()
