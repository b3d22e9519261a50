"""Files of pairs shown, and written in the forms that other trainers read."""

import csv
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ragtrial.domain.inert import inert_cell
from ragtrial.domain.pair import Pair, PairOrigin, Split
from ragtrial.errors import InputError
from ragtrial.formats.pairs import read_pairs
from ragtrial.suite.data_licences import licences_of

Form = Literal["pairs", "triplets", "scored"]
FORMS: tuple[Form, ...] = get_args(Form)
Row = Mapping[str, str | float]

_COLUMNS: Mapping[Form, tuple[str, ...]] = {
    "pairs": ("anchor", "positive"),
    "triplets": ("anchor", "positive", "negative"),
    "scored": ("sentence1", "sentence2", "score"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Words of some texts: the median, the 95th percentile and the longest."""

    median: float
    p95: float
    longest: int


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is in a file of pairs.

    Attributes:
        pairs: How many.
        counts: By origin and split; what is not there is left out.
        queries: Different ones.
        passages: Different ones.
        with_negatives: Pairs that have some.
        negatives: All of them.
        scored: Pairs with a score of their own.
        licences: Pairs by the licence of their data; those without one last.
        query_words: Their lengths.
        passage_words: Their lengths.
        examples: The first of each origin.
    """

    pairs: int
    counts: Mapping[tuple[PairOrigin, Split], int]
    queries: int
    passages: int
    with_negatives: int
    negatives: int
    scored: int
    licences: Mapping[str, int]
    query_words: Lengths
    passage_words: Lengths
    examples: tuple[Pair, ...]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        output: The file.
        form: Of its rows.
        rows: How many.
        without_negatives: Pairs that gave no triplet; 0 in other forms.
    """

    output: Path
    form: Form
    rows: int
    without_negatives: int


def show_pairs(path: Path) -> Shown:
    """What is in a file of pairs.

    Raises:
        ValidationError: The file is wrong, or holds no pair.
    """
    pairs = read_pairs(path)
    examples = {pair.origin: pair for pair in reversed(pairs)}
    counts = Counter((pair.origin, pair.split) for pair in pairs)
    return Shown(
        pairs=len(pairs),
        counts=dict(sorted(counts.items())),
        queries=len({pair.query for pair in pairs}),
        passages=len({pair.passage for pair in pairs}),
        with_negatives=sum(bool(pair.negatives) for pair in pairs),
        negatives=sum(len(pair.negatives) for pair in pairs),
        scored=sum(pair.score is not None for pair in pairs),
        licences=licences_of(pairs),
        query_words=_lengths([pair.query for pair in pairs]),
        passage_words=_lengths([pair.passage for pair in pairs]),
        examples=tuple(examples[origin] for origin in sorted(examples)),
    )


def export_pairs(path: Path, output: Path, *, form: Form, split: Split | None = "train") -> Exported:
    """Write the pairs of a file under the column names that sentence-transformers expects.

    `pairs`: anchor, positive. `triplets`: anchor, positive, negative, a row for each negative; pairs without one are counted. `scored`:
    sentence1, sentence2, score; a pair without a score of its own counts as 1, each of its negatives as 0.

    Args:
        path: A file of pairs.
        output: Ends with `.jsonl`, `.csv` or `.parquet`.
        form: Of the rows.
        split: Only its pairs; None: all.

    Raises:
        InputError: The files are wrong, or no row is left.
    """
    writer = _WRITERS.get(output.suffix.lower())
    if writer is None:
        raise InputError(f"{str(output)!r} ends with {output.suffix!r}: give a file that ends with {', '.join(_WRITERS)}")
    pairs = [pair for pair in read_pairs(path) if split is None or pair.split == split]
    rows = [row for pair in pairs for row in _rows(pair, form)]
    if not rows:
        what = f"no pair of split {split!r}" if not pairs else "no pair with negatives: mine some (ragtrial pairs mine)"
        raise InputError(f"{path}: there is {what}, so nothing is written")
    _whole(output, lambda part: writer(part, rows, _COLUMNS[form]))
    without = sum(not pair.negatives for pair in pairs) if form == "triplets" else 0
    return Exported(output=output, form=form, rows=len(rows), without_negatives=without)


def _rows(pair: Pair, form: Form) -> Iterator[Row]:
    if form == "pairs":
        yield {"anchor": pair.query, "positive": pair.passage}
    elif form == "triplets":
        for negative in pair.negatives:
            yield {"anchor": pair.query, "positive": pair.passage, "negative": negative}
    else:
        yield {"sentence1": pair.query, "sentence2": pair.passage, "score": 1.0 if pair.score is None else pair.score}
        for negative in pair.negatives:
            yield {"sentence1": pair.query, "sentence2": negative, "score": 0.0}


def _lengths(texts: Sequence[str]) -> Lengths:
    words = [len(text.split()) for text in texts]
    return Lengths(median=float(np.median(words)), p95=float(np.quantile(words, 0.95)), longest=max(words))


def _jsonl(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    del columns
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")


def _csv(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        # a spreadsheet is what CSV is opened with; who trains on the texts as they are takes JSON lines or Parquet
        writer.writerows({name: inert_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()} for row in rows)


def _parquet(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: [row[name] for row in rows] for name in columns}), path, compression="zstd")


_WRITERS: Mapping[str, Callable[[Path, Sequence[Row], Sequence[str]], None]] = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}


def _whole(output: Path, write: Callable[[Path], None]) -> None:
    """Write all of the file or leave what was there."""
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=output.absolute().parent, prefix=f".{output.name}.")
        os.close(descriptor)
        try:
            write(Path(name))
            Path(name).chmod(0o644)
            Path(name).replace(output)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"can't write {str(output)!r}: {error.strerror}; choose a folder that can be written to") from error
