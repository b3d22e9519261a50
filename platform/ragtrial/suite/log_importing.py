"""`ragtrial db import`: a live log from files, checked and completed, as a whole or not at all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragtrial.contracts import Progress, no_progress
from ragtrial.db.bulk_import import BulkImport, bulk_import
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.live import LiveSpec
from ragtrial.errors import InputError, Problem, ValidationError
from ragtrial.formats.experiment import ExperimentFile, load_experiment, sql_url
from ragtrial.formats.log_checks import Fault, repeated, score_faults, sizes, trial_faults
from ragtrial.formats.log_tables import TableName, log_files, read_log
from ragtrial.splitting import pseudonym

if TYPE_CHECKING:
    import pyarrow as pa

_SQL = {"trials": "live_trials", "scores": "live_scores", "votes": "live_votes", "signals": "live_signals"}
_DIGEST_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import has written.

    Attributes:
        live_id: The live experiment's number in the log.
        rows: Rows written, by table.
        repeated: Scores, votes and signals that were there already, and stay as they were.
    """

    live_id: int
    rows: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)


def import_log(path: Path, places: Mapping[TableName, Sequence[Path]], *, progress: Progress = no_progress) -> Imported:
    """Add trials, scores, votes and signals to the live log of an experiment.

    The experiment is registered as if it were served; trials must be new.

    Args:
        path: The experiment file, with a section `live`.
        places: Files or folders of each table.
        progress: Told of files.

    Raises:
        InputError: There is nothing to import, or a file or row is refused; nothing was imported then.
        StoreError: The database refused or was lost; likewise.
    """
    file = load_experiment(path)
    live = file.experiment.live
    if live is None:
        raise InputError(f"{str(path)!r} has no section `live`: only live logs are imported")
    files = {name: [one for place in places.get(name, ()) for one in log_files(place)] for name in _SQL if places.get(name)}  # type: ignore[call-overload]
    if not files:
        raise InputError("nothing to import: give --trials, --scores, --votes or --signals")
    with LiveRecorder(sql_url(file), file.experiment) as recorder:
        live_id = recorder.live_id
    done = Imported(live_id=live_id)
    advance = progress("importing the live log", sum(map(len, files.values())))
    with bulk_import(sql_url(file), live_id, late_days=live.late_vote_days, actor="command line") as into:
        for name, paths in files.items():
            for one in paths:
                if name == "trials":
                    done.rows[name] = done.rows.get(name, 0) + into.trials(_trials(one, file, live, into), place=str(one))
                else:
                    n, again = into.about_trials(_SQL[name], _about(one, name), place=str(one))
                    done.rows[name] = done.rows.get(name, 0) + n
                    done.repeated[name] = done.repeated.get(name, 0) + again
                advance(1)
    return done


def _about(path: Path, name: str) -> "Iterator[pa.Table]":
    for first, batch in read_log(path, name):  # type: ignore[arg-type]  # one of the tables
        found = _with_default(_with_default(batch, "tags", "[]"), "comment", "") if name == "votes" else batch
        if name == "scores":
            _require(path, score_faults(found), first)
            found = _with_default(found, "n_calls", 0)
        yield found.drop_columns([column for column in ("late",) if column in found.schema.names])


def _trials(path: Path, file: ExperimentFile, live: LiveSpec, into: BulkImport) -> "Iterator[pa.Table]":
    versions = into.versions()
    arms = {arm.name for arm in file.experiment.arms} | ({"interleaved"} if live.mode == "interleaved" else set())
    for first, batch in read_log(path, "trials"):
        for name in ("arm", "assigned_arm"):
            _require_words(path, batch, name, sorted(arms), first)
        found = _completed(path, batch, first, file, live)
        _require_words(path, found, "version", versions, first)
        _require(path, trial_faults(found), first)
        _require_once(path, found, first)
        yield found


def _completed(path: Path, batch: "pa.Table", first: int, file: ExperimentFile, live: LiveSpec) -> "pa.Table":
    """With every column that is not NULL in the log, and users as pseudonyms."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = batch
    if "user" in found.schema.names:
        users = found["user"].combine_chunks().dictionary_encode()
        hidden = pa.array([pseudonym(user) for user in users.dictionary.to_pylist()], pa.string())
        units = hidden.take(users.indices)
        found = found.drop_columns(["user", *(["unit"] if "unit" in found.schema.names else [])]).append_column("unit", units)
    for name, given in (("request_id", found["trial_id"]), ("assigned_arm", found["arm"])):
        found = _with_default(found, name, given)
    defaults: dict[str, Any] = {"served": pc.equal(found["trial_id"], found["request_id"]), "reason": "split", "bucket": 0, "version": 1}
    defaults |= {"answer_shared": False, "solicited": False, "caller": "import"}
    for name, given in defaults.items():
        found = _with_default(found, name, given)
    share = live.traffic.treatment
    treated = pc.equal(found["assigned_arm"], file.experiment.treatment.name)
    found = _with_default(found, "propensity", pc.if_else(treated, share, 1.0 - share))
    found = _with_default(found, "query_text", pa.nulls(found.num_rows, pa.string()))
    found = _with_default(found, "query_stored", pc.if_else(pc.is_valid(found["query_text"]), "full", "hash"))
    if "hits" in found.schema.names:
        found = _with_default(found, "n_hits", sizes(found["hits"]))
    found = _with_default(found, "n_hits", pc.if_else(_is_null(found, "failure_stage"), 0, pa.scalar(None, pa.int64())))
    hits = pc.if_else(pc.equal(found["n_hits"], 0), "[]", pa.scalar(None, pa.string()))
    found = _with_default(found, "hits", hits)
    answered = pc.invert(_is_null(found, "finish_reason"))
    for name, nothing in (("cited", "[]"), ("generator", "import")):
        found = _with_default(found, name, _filled(pc.if_else(answered, nothing, pa.scalar(None, pa.string())), found.num_rows))
    return _with_digests(path, found, first)


def _filled(values: Any, n: int) -> Any:
    """A scalar as a column."""
    import pyarrow as pa

    return pa.repeat(values, n) if isinstance(values, pa.Scalar) else values


def _with_digests(path: Path, found: "pa.Table", first: int) -> "pa.Table":
    """Digests of queries that have none; a row with neither text nor digest is refused."""
    from hashlib import sha256

    import pyarrow as pa
    import pyarrow.compute as pc

    if "query_digest" not in found.schema.names or found["query_digest"].null_count:
        texts = found["query_text"].combine_chunks().dictionary_encode()
        made = [sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH] for text in texts.dictionary.to_pylist()]
        found = _with_default(found, "query_digest", pa.array(made, pa.string()).take(texts.indices))
    place = pc.index(pc.is_null(found["query_digest"]), True).as_py()  # the value that is looked for
    if place >= 0:
        raise ValidationError(
            [Problem(message="has neither query_text nor query_digest: give one", path=str(path), line=first + place, field="query_text")]
        )
    return found


def _is_null(found: "pa.Table", name: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_null(found[name]) if name in found.schema.names else pa.scalar(value=True)


def _with_default(found: "pa.Table", name: str, given: Any) -> "pa.Table":
    """A column's NULLs filled, or the whole column where it is not there."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if name in found.schema.names:
        place = found.schema.names.index(name)
        return found.set_column(place, name, pc.coalesce(found[name], given)) if found[name].null_count else found
    if isinstance(given, (pa.Array, pa.ChunkedArray)):
        return found.append_column(name, given)
    value = given.as_py() if isinstance(given, pa.Scalar) else given
    kind = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(), type(None): pa.int64()}[type(value)]
    return found.append_column(name, pa.array(np.full(found.num_rows, value, dtype=object), kind))


def _require(path: Path, faults: Iterable[Fault], first: int) -> None:
    import pyarrow.compute as pc

    for where, name, said in faults:
        place = pc.index(where, True).as_py()  # the value that is looked for
        if place >= 0:
            raise ValidationError([Problem(message=said, path=str(path), line=first + place, field=name)])


def _require_once(path: Path, found: "pa.Table", first: int) -> None:
    place = repeated(found["trial_id"])
    if place is not None:
        said = f"is {found['trial_id'][place].as_py()!r}, as further up: give each trial once"
        raise ValidationError([Problem(message=said, path=str(path), line=first + place, field="trial_id")])


def _require_words(path: Path, batch: "pa.Table", name: str, words: Sequence[Any], first: int) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in batch.schema.names:
        return
    known = pc.or_kleene(pc.is_in(batch[name], value_set=pa.array(list(words), batch[name].type)), pc.is_null(batch[name]))
    place = pc.index(known, False).as_py()  # the value that is looked for
    if place >= 0:
        said = f"is {batch[name][place].as_py()!r}: the experiment has {', '.join(map(str, words))}"
        raise ValidationError([Problem(message=said, path=str(path), line=first + place, field=name)])
