"""What an operator chooses for the gold set or for training, checked before it is written: gold never leaks (law 4)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ragtrial.db.board_reader import BoardReader
from ragtrial.db.curations import CurationRecorder
from ragtrial.db.live_reader import LiveExperiment, LiveReader
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import utc_now
from ragtrial.domain.access import Role, Scope, allows
from ragtrial.domain.corpus import Passage
from ragtrial.domain.curation import Curation, CurationKind
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.errors import InputError
from ragtrial.serving.asking import fallback_id, twin_id
from ragtrial.suite.curated_leaks import Gold, gold_leaks, newest_per_gold_set, pairs_touched, texts_trained_on, trained_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What somebody wants to add: a passage that was found for a query, and what for.

    Attributes:
        kind: What it is chosen for.
        passage_id: The passage.
        grade: Of a judgment.
        note: Why.
        evaluation_id: The evaluation in which it was found, with `query_id`.
        query_id: The gold query.
        trial_id: Or else the live trial in which it was found.
    """

    kind: CurationKind
    passage_id: str
    grade: int | None = None
    note: str = ""
    evaluation_id: str | None = None
    query_id: str | None = None
    trial_id: str | None = None


class UnconfirmedError(InputError):
    """A choice of which somebody should know something before it is written.

    Args:
        warnings: What; at least one.
    """

    def __init__(self, warnings: tuple[str, ...]) -> None:
        self.warnings = warnings
        super().__init__(f"this has to be confirmed: {'; '.join(warnings)}")


def _examined(url: str, choice: Choice, actor: str) -> tuple[Curation, tuple[str, ...]]:
    """A choice as it would be written, and what somebody should know before it is."""
    with Reader(url) as reader, LiveReader(url) as live, BoardReader(url) as board:
        found = _of_evaluation(reader, choice, actor) if choice.trial_id is None else _of_trial(reader, live, choice, actor)
        curation = found.curation
        chosen = board.curations(curation.experiment)
        if choice.kind == "judgment":
            return curation, _doubts(reader, url, found, chosen)
        golds = [Gold.read(reader, each, [curation.passage_id]) for each in found.golds]
        leaks = gold_leaks([curation], {curation.passage_id: found.document_id}, golds, chosen)
        if leaks:
            raise InputError(
                f"this can't be used for training: {leaks[0]}, and a model trained on it would be tested on what it has learned"
            )
        unchecked = "no gold set of this experiment or corpus is in the database, so that only export and training can see whether this is (nearly) of it"
        return curation, () if found.golds else (unchecked,)


def curate(
    url: str, choice: Choice, *, actor: str, role: Role | None, scopes: Collection[Scope] | None = None, despite_warnings: bool = False
) -> Curation:
    """Write a choice down; durable when it returns.

    Args:
        url: Of the database.
        choice: What to add.
        actor: Who chooses it.
        role: What that person or key is; None: nobody gave them a role.
        scopes: All that a limited key may do; None: what its role may.
        despite_warnings: They have seen the warnings.

    Raises:
        InputError: The actor may not, there is no such evaluation, query, trial or passage, or the choice is refused; the message says why.
        UnconfirmedError: There are warnings; nothing speaks against it otherwise.
        ConflictError: The passage is chosen for this query already.
    """
    _require(actor, role, scopes)
    curation, warnings = _examined(url, choice, actor)
    if warnings and not despite_warnings:
        raise UnconfirmedError(warnings)
    with CurationRecorder(url) as recorder:
        return recorder.add(curation)


def take_back(
    url: str, curation_id: int, *, actor: str, role: Role | None, scopes: Collection[Scope] | None = None, note: str = ""
) -> Curation:
    """Take a choice back by a row of its own; what was chosen stays in the log. Arguments as for `curate`.

    Raises:
        InputError: The actor may not, or there is no such choice.
        ConflictError: It was taken back already.
    """
    _require(actor, role, scopes)
    with CurationRecorder(url) as recorder:
        return recorder.take_back(curation_id, actor=actor, note=note)


def _require(actor: str, role: Role | None, scopes: Collection[Scope] | None) -> None:
    if not allows(role, scopes, "operate"):
        known = f"is a {role}" if role is not None else "has no role"
        raise InputError(f"{actor!r} {known} and may not choose for the gold set or for training: ask an operator")


def kept_passages(reader: Reader, served: LiveExperiment | None, ids: Collection[str]) -> dict[str, Passage]:
    """Texts of passages that a live experiment found, by id: those that an evaluation over the same corpus has logged.

    The live log itself keeps ids and similarities.
    """
    fingerprint = None if served is None else served.facts.get("corpus_fingerprint")
    same = [each for each in reader.evaluations() if each.corpus_fingerprint == fingerprint]
    return reader.passages(same[-1].evaluation_id, ids) if same else {}


def served_as(live: LiveReader, trial: LiveTrial) -> LiveExperiment | None:
    """The live experiment that a trial is of: the one of its name that was started last before it."""
    same = [each for each in live.experiments() if each.name == trial.experiment]
    return next((each for each in reversed(same) if each.created_at <= trial.at), same[0] if same else None)


def answered_beside(live: LiveReader, trial: LiveTrial) -> LiveTrial | None:
    """The other trial of the same request: the silent twin, the baseline's that stood in for a failed one, or the served one; or None."""
    if not trial.served:
        return live.trial(trial.request_id)
    found = (live.trial(other) for other in (twin_id(trial.request_id), fallback_id(trial.request_id)))
    return next((each for each in found if each is not None), None)


def gold_behind(reader: Reader, served: LiveExperiment | None, trial: LiveTrial) -> GoldSet | None:
    """The gold query that a live query is, with its judgments, from the newest gold set that holds it; None where there is none."""
    wanted = trial.query.gold_query_id
    if wanted is None:
        return None
    for evaluation in _golds(reader, trial, served):
        gold = reader.gold(evaluation.evaluation_id, [wanted])
        if gold.queries:
            return gold
    return None


def _golds(reader: Reader, trial: LiveTrial, served: LiveExperiment | None) -> tuple[Evaluation, ...]:
    return newest_per_gold_set(reader, trial.experiment, None if served is None else served.facts.get("corpus_fingerprint"))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A choice with what it is checked against.

    Attributes:
        curation: As it would be written.
        document_id: Of the passage, or the passage's own id where the log does not keep its text.
        golds: An evaluation of each gold set that the experiment or its corpus was evaluated on, the newest first.
        grade_before: What the gold set says of the passage for this query; None where nothing.
    """

    curation: Curation
    document_id: str
    golds: tuple[Evaluation, ...]
    grade_before: int | None


def _of_evaluation(reader: Reader, choice: Choice, actor: str) -> _Found:
    if choice.evaluation_id is None or choice.query_id is None:
        raise InputError("say where the passage was found: an evaluation and its query, or a live trial")
    evaluation = reader.evaluation(choice.evaluation_id)
    gold = reader.gold(evaluation.evaluation_id, [choice.query_id])
    if not gold.queries:
        raise InputError(f"query {choice.query_id!r} was not asked in evaluation {choice.evaluation_id!r}")
    (query,) = gold.queries
    passage = reader.passages(evaluation.evaluation_id, [choice.passage_id]).get(choice.passage_id)
    if passage is None:
        raise InputError(f"evaluation {choice.evaluation_id!r} holds no passage {choice.passage_id!r}: no arm retrieved it")
    return _Found(
        curation=_curation(choice, evaluation.experiment, query.text, query.query_id, passage, actor),
        document_id=passage.document_id,
        golds=newest_per_gold_set(reader, evaluation.experiment, evaluation.corpus_fingerprint),
        grade_before=gold.qrels()[query.query_id].get(choice.passage_id),
    )


def _of_trial(reader: Reader, live: LiveReader, choice: Choice, actor: str) -> _Found:
    trial = live.trial(choice.trial_id or "")
    if trial is None:
        raise InputError(f"there is no live trial {choice.trial_id!r} in the log")
    if trial.query.text is None:
        raise InputError(
            f"the log keeps only the hash of the query of {choice.trial_id!r} (live.query_text), so there is nothing to choose"
        )
    both = (trial, answered_beside(live, trial))
    found = {hit for each in both if each is not None and each.trial.ranking is not None for hit in each.trial.ranking.passage_ids}
    if choice.passage_id not in found:
        raise InputError(f"live trial {choice.trial_id!r} did not find passage {choice.passage_id!r}")
    served = served_as(live, trial)
    passage = kept_passages(reader, served, [choice.passage_id]).get(choice.passage_id)
    gold = gold_behind(reader, served, trial)
    return _Found(
        curation=_curation(choice, trial.experiment, trial.query.text, trial.query.gold_query_id, passage, actor),
        document_id=choice.passage_id if passage is None else passage.document_id,
        golds=_golds(reader, trial, served),
        grade_before=None if gold is None else gold.qrels()[gold.queries[0].query_id].get(choice.passage_id),
    )


def _curation(choice: Choice, experiment: str, text: str, query_id: str | None, passage: Passage | None, actor: str) -> Curation:
    try:
        return Curation(
            experiment=experiment,
            kind=choice.kind,
            query_text=text,
            query_id=query_id,
            passage_id=choice.passage_id,
            passage_text="" if passage is None else passage.content,
            grade=choice.grade,
            evaluation_id=choice.evaluation_id if choice.trial_id is None else None,
            trial_id=choice.trial_id,
            actor=actor,
            note=choice.note.strip(),
            created_at=utc_now().isoformat(),
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def _doubts(reader: Reader, url: str, found: _Found, chosen: Sequence[Curation]) -> tuple[str, ...]:
    """What somebody should know before a query and its passage become gold."""
    curation, doubts = found.curation, []
    if found.grade_before is not None:
        doubts.append(f"the gold set judges this passage with grade {found.grade_before} for this query already: yours would replace it")
    touched = pairs_touched(curation, found.document_id, chosen)
    if touched:
        doubts.append(
            f"training pair {touched[0].curation_id} of {touched[0].actor} has (nearly) this query or this passage: it will be left out of "
            "every export, and a model that was trained on it can't be tested on this"
        )
    for name, texts in trained_on(reader, url, found.golds).items():
        seen = texts_trained_on(curation, texts)
        if seen:
            doubts.append(f"{name} was trained on this {' and this '.join(seen)}: an evaluation of it would be refused as leaking")
    return tuple(doubts)
