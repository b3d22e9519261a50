"""Files of training pairs: JSON Lines with a pair on each line, its negatives, and how it was made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ragtrial.domain.pair import PAIR_ORIGINS, SPLITS, Pair, PairOrigin, Split
from ragtrial.formats.files import read_objects, write_lines
from ragtrial.formats.records import Place, text_of, texts_of
from ragtrial.formats.validation import Findings, Report, found

_EXAMPLE = '{"query": "...", "passage": "...", "passage_id": "p1", "document_id": "d1"}'


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """The pairs of a file, in order.

    `query`, `passage`, `passage_id` and `document_id` are needed; `negatives` (texts), `score` (0 to 1), `origin`, `split`, `source` and
    `provenance` (a mapping) may be given.

    Raises:
        ValidationError: With every fault, its line and its field.
    """
    findings = Findings()
    return findings.require(_read(path, findings))


def check_pairs(path: Path) -> Report:
    """Everything that is wrong in a file of pairs, without stopping at the first."""
    findings = Findings()
    _read(path, findings)
    return findings.report()


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write a file of pairs that `read_pairs` reads; all of it or nothing.

    Raises:
        InputError: The folder can't be written to.
    """
    write_lines(path, (json.dumps(_plain(pair), ensure_ascii=False) for pair in pairs))


def _read(path: Path, findings: Findings) -> tuple[Pair, ...] | None:
    pairs = []
    before = len(findings.problems)
    for line, record in read_objects(path, findings, example=_EXAMPLE):
        pair = _pair(record, Place(path=path, line=line, findings=findings))
        if pair is not None:
            pairs.append(pair)
    if not pairs and len(findings.problems) == before:
        findings.problem(f"holds no pair: give one object a line, {_EXAMPLE}", path=str(path))
    findings.counts["pairs"] = len(pairs)
    return tuple(pairs)


def _pair(record: Mapping[str, object], place: Place) -> Pair | None:
    query, passage, passage_id, document_id = (text_of(record, key, place) for key in ("query", "passage", "passage_id", "document_id"))
    source = text_of(record, "source", place, required=False)
    negatives = texts_of(record, "negatives", place)
    score, origin, split = _score(record, place), _choice(record, "origin", PAIR_ORIGINS, place), _choice(record, "split", SPLITS, place)
    provenance = record.get("provenance") or {}
    if not isinstance(provenance, Mapping):
        place.problem(f"is {found(provenance)}: expected a mapping", field="provenance")
        return None
    if not (query and passage and passage_id and document_id) or source is None or negatives is None or not origin or not split:
        return None
    if isinstance(score, str):
        return None
    return Pair(
        query=query,
        passage=passage,
        passage_id=passage_id,
        document_id=document_id,
        source=source or None,
        negatives=negatives,
        score=score,
        origin=_ORIGIN[origin],
        split=_SPLIT[split],
        provenance=provenance,
    )


_ORIGIN: dict[str, PairOrigin] = {origin: origin for origin in PAIR_ORIGINS}
_SPLIT: dict[str, Split] = {split: split for split in SPLITS}


def _score(record: Mapping[str, object], place: Place) -> float | str | None:
    """The score; None where there is none; a text where it is faulty, which is noted."""
    score = record.get("score")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        place.problem(f"is {found(score)}: expected a number from 0 to 1", field="score")
        return "faulty"
    return float(score)


def _choice(record: Mapping[str, object], key: str, known: Sequence[str], place: Place) -> str | None:
    """One of the known texts, the first where none is given; None (noted) where it is another."""
    value = record.get(key, known[0])
    if value in known:
        return str(value)
    place.problem(f"is {found(value)}: expected one of {', '.join(known)}", field=key)
    return None


def _plain(pair: Pair) -> dict[str, object]:
    """What is not the default."""
    optional: dict[str, object] = {
        "source": pair.source,
        "negatives": list(pair.negatives) or None,
        "score": pair.score,
        "provenance": dict(pair.provenance) or None,
    }
    return {
        "query": pair.query,
        "passage": pair.passage,
        "passage_id": pair.passage_id,
        "document_id": pair.document_id,
        "origin": pair.origin,
        "split": pair.split,
        **{key: value for key, value in optional.items() if value is not None},
    }
