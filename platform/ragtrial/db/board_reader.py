"""What the dashboard reads of evaluations: small rows and documents that were made once, never the log itself."""

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, false, func, or_, select, true

from ragtrial.db.board_models import ConclusionRow, CurationRow, LabellingQueueRow, QueryOutcomeRow
from ragtrial.db.curations import read_curations
from ragtrial.db.embedding_maps import read_maps
from ragtrial.db.live_rows import storable
from ragtrial.db.models import EvaluationRow, ExperimentRow, LabelRow, QueryRow, TrialRow
from ragtrial.db.reading import ReadOnly
from ragtrial.domain.curation import Curation, standing
from ragtrial.domain.embedding_map import EmbeddingMap
from ragtrial.domain.outcome import TIE, QueryOutcome

OutcomeView = Literal[
    "largest wins",
    "largest losses",
    "baseline failures",
    "custom failures",
    "disagreements",
    "unjudged passages",
    "failures",
    "all",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A document that was made once.

    Attributes:
        form: Version of its form.
        made_at: When it was made, in seconds since 1970.
        document: JSON.
    """

    form: int
    made_at: float
    document: dict[str, Any]


class Made(NamedTuple):
    """When an evaluation was concluded.

    Attributes:
        form: Version of the document's form.
        at: In seconds since 1970.
        problem: Why it could not be concluded, or None.
    """

    form: int
    at: float
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomePage:
    """Some of the queries that a view holds, and how many it holds in all."""

    rows: tuple[QueryOutcome, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Queries that have a relevant passage, and of which an arm retrieved none.

    Attributes:
        judged: Queries with a relevant passage.
        baseline: Of them, those that the control misses.
        custom: Those that the treatment misses.
        both: Those that both miss.
    """

    judged: int
    baseline: int
    custom: int
    both: int


class BoardReader(ReadOnly):
    """Reads what was concluded. An evaluation that is not concluded, or not there, has no conclusion and no outcomes: nothing is raised.

    Args:
        url: SQLAlchemy URL.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
            Every method raises it where the database fails.
    """

    def conclusion(self, evaluation_id: str) -> Stored | None:
        """What the evaluation came to; None before it was concluded, and where it can't be."""
        wanted = select(ConclusionRow.form, ConclusionRow.made_at, ConclusionRow.document).where(
            ConclusionRow.evaluation_id == evaluation_id, ConclusionRow.problem.is_(None)
        )
        with self._transaction() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else Stored(form=row.form, made_at=row.made_at, document=row.document)

    def labelling_queue(self, evaluation_id: str, metric: str) -> Stored | None:
        """What was drawn for people on a judged metric, with the conclusion; None where there is none, or the metric was not judged."""
        row = LabellingQueueRow
        same = and_(row.evaluation_id == ConclusionRow.evaluation_id, row.generation == ConclusionRow.generation)
        wanted = select(ConclusionRow.form, ConclusionRow.made_at, row.document).join(row, same)
        with self._transaction() as connection:
            found = connection.execute(wanted.where(row.evaluation_id == evaluation_id, row.metric == metric)).first()
        if found is None:
            return None
        return Stored(form=found.form, made_at=found.made_at, document=json.loads(zlib.decompress(found.document)))

    def problem(self, evaluation_id: str) -> str | None:
        """Why the evaluation could not be concluded; None where it was, and where nobody has tried."""
        wanted = select(ConclusionRow.problem).where(ConclusionRow.evaluation_id == evaluation_id)
        with self._transaction() as connection:
            return connection.execute(wanted).scalar()

    def made(self) -> Mapping[str, Made]:
        """When each evaluation was concluded, by evaluation; those that never were are missing."""
        wanted = select(ConclusionRow.evaluation_id, ConclusionRow.form, ConclusionRow.made_at, ConclusionRow.problem)
        with self._transaction() as connection:
            rows = connection.execute(wanted)
            return {row.evaluation_id: Made(form=row.form, at=row.made_at, problem=row.problem) for row in rows}

    def labelled_at(self) -> Mapping[str, float]:
        """When people labelled an answer last, in seconds since 1970, by experiment; those without labels are missing."""
        wanted = (
            select(ExperimentRow.name, func.max(LabelRow.created_at).label("last"))
            .join(EvaluationRow, EvaluationRow.experiment_id == ExperimentRow.id)
            .join(LabelRow, LabelRow.evaluation_id == EvaluationRow.evaluation_id)
            .group_by(ExperimentRow.name)
        )
        with self._transaction() as connection:
            return {row.name: row.last.timestamp() for row in connection.execute(wanted)}

    def n_trials_done(self, evaluation_id: str) -> int:
        """Trials that are in the log."""
        wanted = select(func.count()).select_from(TrialRow).where(TrialRow.evaluation_id == evaluation_id)
        with self._transaction() as connection:
            return connection.execute(wanted).scalar_one()

    def embedding_maps(self, evaluation_id: str) -> Mapping[str, EmbeddingMap]:
        """Where the arms' models put passages and queries, by arm; empty where no map was made.

        Which queries the baseline misses is told as the evaluation was concluded last.
        """
        concluded = select(ConclusionRow.generation).where(ConclusionRow.evaluation_id == evaluation_id)
        missed = select(QueryOutcomeRow.query_id).where(_of(evaluation_id), _VIEWS["baseline failures"][0])
        with self._transaction() as connection:
            is_known = connection.execute(concluded).scalar() is not None
            return read_maps(connection, evaluation_id, frozenset(connection.execute(missed).scalars()) if is_known else None)

    def outcomes(
        self,
        evaluation_id: str,
        *,
        view: OutcomeView = "all",
        tag: tuple[str, str] | None = None,
        text: str | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> OutcomePage:
        """Queries of one kind, in the order that suits the kind.

        Args:
            evaluation_id: The evaluation.
            view: `largest wins` and `largest losses`: by gain. `baseline failures`: queries of which the baseline found no relevant passage
                though there is one, where custom gains most first; `custom failures` likewise. `disagreements`: retrieval got better and the
                answer worse, or the other way round. `unjudged passages` and `failures`: the most first. `all`: in the gold set's order.
            tag: Only queries with this tag and value.
            text: Only queries whose text holds this, whatever the case.
            limit: Rows at most.
            offset: Rows to leave out at the beginning.
        """
        kept, order = _VIEWS[view]
        with self._transaction() as connection:
            chosen = and_(_of(evaluation_id), kept, *_filters(connection, tag, text))
            counted = select(func.count()).select_from(QueryOutcomeRow).where(chosen)
            total = connection.execute(counted if tag is None and not text else counted.join(QueryRow, _SAME_QUERY)).scalar_one()
            rows = connection.execute(_outcomes().where(chosen).order_by(*order, QueryOutcomeRow.position).limit(limit).offset(offset))
            return OutcomePage(rows=tuple(map(_outcome, rows)), total=total)

    def missed(self, evaluation_id: str) -> Missed:
        """How many queries the arms miss."""
        row = QueryOutcomeRow
        baseline, custom = row.baseline_found == 0, row.custom_found == 0
        both = func.count(case((and_(baseline, custom), 1)))
        wanted = select(func.count(), func.count(case((baseline, 1))), func.count(case((custom, 1))), both).where(
            _of(evaluation_id), row.relevant > 0
        )
        with self._transaction() as connection:
            judged, by_baseline, by_custom, by_both = connection.execute(wanted).one()
        return Missed(judged=judged, baseline=by_baseline, custom=by_custom, both=by_both)

    def outcome(self, evaluation_id: str, query_id: str) -> QueryOutcome | None:
        """One query; None where it is not concluded or not of this evaluation."""
        wanted = _outcomes().where(_of(evaluation_id), QueryRow.evaluation_id == evaluation_id, QueryRow.query_id == query_id)
        with self._transaction() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else _outcome(row)

    def tags(self, evaluation_id: str) -> Mapping[str, Mapping[str, int]]:
        """Queries by tag and value, both sorted."""
        found: dict[str, dict[str, int]] = {}
        with self._transaction() as connection:
            each = _each_tag(connection)
            wanted = (
                select(each.c.key, each.c.value, func.count())
                .select_from(QueryRow)
                .join(each, true())
                .where(QueryRow.evaluation_id == evaluation_id)
                .group_by(each.c.key, each.c.value)
            )
            for tag, value, n in sorted(map(tuple, connection.execute(wanted))):
                found.setdefault(tag, {})[value] = n
        return found

    def curations(self, experiment: str, *, history: bool = False) -> tuple[Curation, ...]:
        """What people chose from an experiment's pages, in order; with `history` also what was taken back, and by which row."""
        with self._transaction() as connection:
            found = read_curations(connection, experiment)
        return found if history else standing(found)

    def curations_of(self, experiment: str, *, query_id: str | None, text: str | None) -> tuple[Curation, ...]:
        """What stands chosen of one query, in order.

        Args:
            experiment: Its name.
            query_id: Of the gold query; None: it is none.
            text: As it was asked; None: it is not known.
        """
        same = [
            column == value for column, value in ((CurationRow.query_id, query_id), (CurationRow.query_text, text)) if value is not None
        ]
        with self._transaction() as connection:
            return standing(read_curations(connection, experiment, or_(false(), *same)))


_SAME_QUERY = and_(QueryRow.evaluation_id == QueryOutcomeRow.evaluation_id, QueryRow.position == QueryOutcomeRow.position)

_VIEWS: dict[OutcomeView, tuple[ColumnElement[bool], tuple[ColumnElement[Any], ...]]] = {
    "largest wins": (QueryOutcomeRow.gain > TIE, (QueryOutcomeRow.gain.desc(),)),
    "largest losses": (QueryOutcomeRow.gain < -TIE, (QueryOutcomeRow.gain.asc(),)),
    "baseline failures": (
        and_(QueryOutcomeRow.relevant > 0, QueryOutcomeRow.baseline_found == 0),
        (QueryOutcomeRow.gain.desc().nulls_last(),),
    ),
    "custom failures": (and_(QueryOutcomeRow.relevant > 0, QueryOutcomeRow.custom_found == 0), (QueryOutcomeRow.gain.asc().nulls_last(),)),
    "disagreements": (
        or_(
            and_(QueryOutcomeRow.gain > TIE, QueryOutcomeRow.answer_gain < -TIE),
            and_(QueryOutcomeRow.gain < -TIE, QueryOutcomeRow.answer_gain > TIE),
        ),
        ((QueryOutcomeRow.gain * QueryOutcomeRow.answer_gain).asc(),),
    ),
    "unjudged passages": (QueryOutcomeRow.unjudged > 0, (QueryOutcomeRow.unjudged.desc(),)),
    "failures": (QueryOutcomeRow.failed > 0, (QueryOutcomeRow.failed.desc(),)),
    "all": (true(), ()),
}


def _of(evaluation_id: str) -> ColumnElement[bool]:
    """Rows of the conclusion that holds; none where there is no conclusion."""
    holds = select(ConclusionRow.generation).where(ConclusionRow.evaluation_id == evaluation_id).scalar_subquery()
    return and_(QueryOutcomeRow.evaluation_id == evaluation_id, QueryOutcomeRow.generation == holds)


def _outcomes() -> Select[Any]:
    return select(*QueryOutcomeRow.__table__.columns, QueryRow.text, QueryRow.tags).join(QueryRow, _SAME_QUERY)


def _outcome(row: Row[Any]) -> QueryOutcome:
    return QueryOutcome(
        position=row.position,
        query_id=row.query_id,
        text=row.text,
        tags=row.tags,
        words=row.words,
        baseline=row.baseline,
        custom=row.custom,
        gain=row.gain,
        baseline_answer=row.baseline_answer,
        custom_answer=row.custom_answer,
        answer_gain=row.answer_gain,
        relevant=row.relevant,
        baseline_found=row.baseline_found,
        custom_found=row.custom_found,
        overlap=row.overlap,
        unjudged=row.unjudged,
        failed=row.failed,
    )


def _filters(connection: Connection, tag: tuple[str, str] | None, text: str | None) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if tag is not None:
        each = _each_tag(connection)
        filters.append(select(each.c.key).where(each.c.key == storable(tag[0]), each.c.value == storable(tag[1])).exists())
    if text:
        filters.append(QueryRow.text.regexp_match(_in_any_case(storable(text))))
    return filters


def _each_tag(connection: Connection) -> Any:
    """A query's tags as rows of key and value."""
    unfolded = func.json_each(QueryRow.tags) if connection.dialect.name == "sqlite" else func.json_each_text(QueryRow.tags)
    return unfolded.table_valued("key", "value")


def _in_any_case(text: str) -> str:
    """A pattern that finds the text in whatever case: the databases fold only some letters, and not the same ones."""
    return "".join(_either(letter) for letter in text)


def _either(letter: str) -> str:
    forms = {form for form in (letter, letter.lower(), letter.upper()) if len(form) == 1}
    return f"[{''.join(sorted(forms))}]" if len(forms) > 1 else re.escape(letter)
