"""Tables of a live log as files: what `ragtrial db export` writes and `ragtrial db import` reads, Parquet or JSON Lines.

One description of each column serves both ways, and `docs/scaling-sql.md`. Batches of Arrow columns go through here, not rows: checking
ten million values must not cost more than storing them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ragtrial.domain.trial import Stage
from ragtrial.errors import InputError, Problem, ValidationError
from ragtrial.formats.log_checks import BUCKET, CHANCE, COUNT, CREDIT, MOMENT, NOT_NEGATIVE, SHAPES, Range, not_unicode, out_of, unfit

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "json", "number", "count", "flag"]
TableName = Literal["trials", "scores", "votes", "signals"]

ROWS_AT_ONCE = 50_000
_LINES_AT_ONCE = 5_000
_ENDINGS = (".parquet", ".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        name: As in the file.
        kind: `text`; `json`, text that is JSON; `number`, finite; `count`, a whole number; `flag`, true or false.
        required: It has a value in each row, and a file without it is refused.
        words: The only words that it may hold; empty: any.
        within: The only numbers that it may hold; None: any.
        meaning: What it says.
    """

    name: str
    kind: Kind
    required: bool = False
    words: tuple[str, ...] = ()
    within: Range | None = None
    meaning: str = ""


def _columns(kind: Kind, within: Range | None = None, **meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name=name, kind=kind, within=within, meaning=meaning) for name, meaning in meanings.items())


_REASONS = ("split", "override", "no unit", "outside", "holdout", "denied", "stopped", "fallback")
_TRIAL = Column(name="trial_id", kind="text", required=True, meaning="the trial's id, unique in the database")
_AT = Column(name="at", kind="number", required=True, within=MOMENT, meaning="seconds since 1970, UTC")

TABLES: Mapping[TableName, tuple[Column, ...]] = {
    "trials": (
        _TRIAL,
        Column(name="request_id", kind="text", meaning="the trial_id that was served for the request; default: trial_id"),
        Column(name="served", kind="flag", meaning="whether a user saw it; default: true"),
        Column(name="unit", kind="text", meaning="pseudonym of the user or session; what an import gives as `user` becomes one"),
        Column(name="arm", kind="text", required=True, meaning="the arm that made the answer"),
        Column(name="assigned_arm", kind="text", meaning="the arm that the unit was given; default: arm"),
        Column(name="reason", kind="text", words=_REASONS, meaning="why; only `split` is analysed; default: split"),
        *_columns("count", BUCKET, bucket="of the split, 0 to 9999; default 0"),
        *_columns("count", COUNT, version="of the traffic; default 1"),
        Column(name="propensity", kind="number", within=CHANCE, meaning="chance of the arm; default: the plan's share"),
        _AT,
        Column(name="waited_ms", kind="number", required=True, within=NOT_NEGATIVE, meaning="what the user waited"),
        *_columns("number", NOT_NEGATIVE, embed_ms="stage", search_ms="stage", rerank_ms="the part of search_ms that reranking took"),
        *_columns("number", NOT_NEGATIVE, generate_ms="stage", answer_ms="measured by the generator itself"),
        *_columns("number", MOMENT, answer_made_at="when a cached answer was made"),
        *_columns("number", NOT_NEGATIVE, cost_usd="of the answer"),
        *_columns("number", MOMENT, texts_erased_at="or NULL"),
        *_columns("count", COUNT, prompt_tokens="or NULL", cached_tokens="or NULL", completion_tokens="or NULL"),
        *_columns("count", COUNT, n_hits="retrieved passages; default: as many as `hits`"),
        *_columns("count", CREDIT, citation_credit="mode interleaved: cited passages of the treatment minus the control's"),
        *_columns("flag", answer_shared="one answer for both arms; default: false", solicited="asked for a rating; default: false"),
        Column(name="finish_reason", kind="text", words=("stop", "abstained", "length"), meaning="NULL: no answer"),
        *_columns("text", generator="name and version"),
        Column(name="failure_stage", kind="text", words=get_args(Stage), meaning="NULL: it went well"),
        *_columns("text", failure_kind="class of the error", failure_message="in words", caller="who asked; default: import"),
        *_columns("text", idempotency_key="of the request", query_digest="SHA-256, 32 digits; default: of query_text"),
        Column(
            name="query_stored", kind="text", words=("full", "redacted", "hash"), meaning="default: full, or hash where there is no text"
        ),
        *_columns("text", gold_query_id="the gold query in the same words", query_text="NULL where only the digest is stored"),
        *_columns("json", hits="[[passage_id, similarity], ...]", cited="[passage_id, ...]", teams="mode interleaved: passage_id to team"),
        *_columns("text", answer_text="NULL: no answer, or erased"),
    ),
    "scores": (
        _TRIAL,
        Column(name="metric", kind="text", required=True, meaning="as metrics are named everywhere"),
        *_columns("number", value="NULL: there is a reason"),
        *_columns("text", unscored="why there is no value"),
        Column(name="scorer", kind="text", required=True, meaning="name and version"),
        *_columns("count", COUNT, n_calls="of a judge; default 0"),
        *_columns("number", NOT_NEGATIVE, cost_usd="of these calls"),
        _AT,
        *_columns("json", opinions="what the judge said, one by one"),
    ),
    "votes": (
        _TRIAL,
        Column(name="key", kind="text", required=True, meaning="the same key on the same trial is the same vote"),
        Column(name="thumb", kind="text", required=True, words=("up", "down", "withdrawn"), meaning="the last one that is not late counts"),
        *_columns("text", passage_id="a vote on a source; NULL: on the answer"),
        Column(name="team", kind="text", words=("control", "treatment", "both"), meaning="mode interleaved: the passage's"),
        *_columns("flag", late="came after live.late_vote_days; an import computes it"),
        _AT,
        *_columns("json", tags="[word, ...]; default: []"),
        *_columns("text", comment="default: empty"),
    ),
    "signals": (
        _TRIAL,
        Column(name="key", kind="text", required=True, meaning="the same key on the same trial is the same event"),
        Column(name="signal", kind="text", required=True, words=("copied", "rephrased", "citation_clicked"), meaning="what the user did"),
        *_columns("text", passage_id="or NULL"),
        *_columns("flag", late="as of votes"),
        _AT,
    ),
}


def arrow_schema(table: TableName, *, extra: Sequence[str] = ()) -> "pa.Schema":
    """The columns of a table as Arrow has them, after the text columns `extra`."""
    import pyarrow as pa

    kinds = {"text": pa.string(), "json": pa.string(), "number": pa.float64(), "count": pa.int64(), "flag": pa.bool_()}
    fields = [pa.field(name, pa.string()) for name in extra]
    fields += [pa.field(c.name, kinds[c.kind], nullable=not c.required, metadata={"meaning": c.meaning}) for c in TABLES[table]]
    return pa.schema(fields)


def log_files(place: Path) -> tuple[Path, ...]:
    """A file, or all files of a folder and its folders, in the order of their names.

    Raises:
        InputError: There is no such place, or no file in it that ends in .parquet, .jsonl or .ndjson.
    """
    if place.is_dir():
        found = tuple(sorted(p for p in place.rglob("*") if p.suffix.lower() in _ENDINGS and not p.name.startswith((".", "_"))))
    else:
        found = (place,) if place.is_file() and place.suffix.lower() in _ENDINGS else ()
    if not found:
        raise InputError(f"{str(place)!r} is no file that ends in {', '.join(_ENDINGS)}, and no folder that holds one")
    return found


def read_log(path: Path, table: TableName) -> "Iterator[tuple[int, pa.Table]]":
    """The rows of a file in batches, checked, each with the number of its first row (from 1); columns that are not there are NULL.

    Raises:
        ValidationError: The file can't be read, lacks a column, or a value is none that the column may hold.
    """
    import pyarrow as pa

    names = {column.name for column in TABLES[table]} | ({"user"} if table == "trials" else set())
    first = 1
    try:
        for batch in _batches(path, table):
            strangers = [name for name in batch.schema.names if name not in names]
            if strangers:
                has = ", ".join(sorted(names))
                raise _refused(path, f"is no column of {table}: give {has}", field=strangers[0])
            yield first, _checked(path, table, batch, first)
            first += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise _refused(path, f"can't be read: {str(error).partition(chr(10))[0]}") from error


def _batches(path: Path, table: TableName) -> "Iterator[pa.Table]":
    import pyarrow as pa

    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name not in ("experiment", "plan", "date")]
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=names):
                yield pa.Table.from_batches([batch])
        return
    import pyarrow.json as pj

    schema = arrow_schema(table, extra=("user",) if table == "trials" else ())
    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    try:
        found = pj.read_json(path, parse_options=parse)
    except pa.ArrowException as error:
        line, said = _unreadable(path, parse)
        raise _refused(path, f"can't be read: {said or str(error).partition(chr(10))[0]}", line=line) from error
    kept = [name for name in found.schema.names if name != "user" or found["user"].null_count < found.num_rows]
    for batch in found.select(kept).to_batches(max_chunksize=ROWS_AT_ONCE):
        yield pa.Table.from_batches([batch])


def _unreadable(path: Path, parse: Any) -> tuple[int | None, str]:
    """The line of a JSON Lines file that can't be read, and why: Arrow counts from the begin of its block, or not at all."""
    import pyarrow as pa
    import pyarrow.json as pj

    def fault(lines: Sequence[bytes]) -> str:
        part = b"".join(lines)
        try:
            pj.read_json(pa.BufferReader(part), parse_options=parse, read_options=pj.ReadOptions(block_size=len(part) + 1))
        except pa.ArrowException as error:
            return str(error).partition("\n")[0].partition(" in row ")[0]
        return ""

    with path.open("rb") as file:
        begin = 0
        while lines := list(islice(file, _LINES_AT_ONCE)):
            if fault(lines):
                place = _first(len(lines), lambda some, lines=lines: bool(fault(lines[some])))  # type: ignore[misc]
                return begin + place + 1, fault(lines[place : place + 1])
            begin += len(lines)
    return None, ""


def _first(n: int, is_bad: Callable[[slice], bool]) -> int:
    """The place of the first one of `n` for which a stretch of them is bad, where one is."""
    begin, end = 0, n
    while end - begin > 1:
        middle = (begin + end) // 2
        if is_bad(slice(begin, middle)):
            end = middle
        else:
            begin = middle
    return begin


def _checked(path: Path, table: TableName, batch: "pa.Table", first: int) -> "pa.Table":
    """The batch with the columns of the table, in their order and types."""
    import pyarrow as pa

    schema, columns = arrow_schema(table), {}
    for column in TABLES[table]:
        if column.name not in batch.schema.names:
            if column.required:
                raise _refused(path, f"is missing: {table} need it ({column.meaning})", field=column.name)
            continue
        wanted = schema.field(column.name).type
        _require_unicode(path, batch, column.name, first)
        try:
            values = batch[column.name].cast(wanted)
        except pa.ArrowException as error:
            said = f"is {batch[column.name].type}, and should be {wanted}: {error}"
            raise _refused(path, said, line=first + _uncastable(batch[column.name], wanted), field=column.name) from error
        _check(path, column, values, first)
        columns[column.name] = _without_nul(values) if column.kind == "text" else values
    if "user" in batch.schema.names:
        _require_unicode(path, batch, "user", first)
        columns["user"] = batch["user"].cast(pa.string())
    return pa.table(columns)


def _require_unicode(path: Path, batch: "pa.Table", name: str, first: int) -> None:
    import pyarrow as pa

    kind = batch[name].type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return
    place = not_unicode(batch[name])
    if place is not None:
        raise _refused(path, "is no Unicode text, as it holds half of a pair of surrogates or other bytes", line=first + place, field=name)


def _uncastable(values: Any, wanted: Any) -> int:
    """The place of the first value that is none of the wanted type, where there is one."""
    import pyarrow as pa

    def fails(some: slice) -> bool:
        try:
            values[some].cast(wanted)
        except pa.ArrowException:
            return True
        return False

    return _first(len(values), fails)


def _without_nul(values: Any) -> Any:
    import pyarrow.compute as pc

    return pc.replace_substring(values, "\0", "\ufffd")


def _check(path: Path, column: Column, values: Any, first: int) -> None:
    import pyarrow.compute as pc

    faults: list[tuple[Any, str]] = []
    if column.required and values.null_count:
        faults.append((values.is_null(), f"has no value: give {column.meaning}"))
    if column.kind == "number":
        faults.append((pc.invert(pc.is_finite(values)), "is not finite: give a number, or NULL with its reason"))
    if column.within is not None:
        faults.append((out_of(values, column.within), column.within[2]))
    if column.words:
        known = pc.or_kleene(pc.is_in(values, value_set=_words(column.words)), values.is_null())
        faults.append((pc.invert(known), f"is none of {', '.join(column.words)}"))
    if column.kind == "json":
        fits, shape = SHAPES[column.name]
        faults.append((pc.is_in(values, value_set=_words(unfit(values, fits))), f"is no JSON text: give {shape}"))
    for fault, message in faults:
        place = pc.index(fault, True).as_py()  # the value that is looked for
        if place >= 0:
            raise _refused(path, f"{values[place].as_py()!r} {message}"[:300], line=first + place, field=column.name)


def _words(words: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.array(list(words), pa.string())


def _refused(path: Path, message: str, *, line: int | None = None, field: str | None = None) -> ValidationError:
    return ValidationError([Problem(message=message, path=str(path), line=line, field=field)])
