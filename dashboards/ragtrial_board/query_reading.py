"""One query, and what each line did with it, as a page shows it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.corpus import Passage
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.gold import Query
from ragtrial.domain.live_trial import LiveTrial, SignalEvent, StoredQuery, Team, Vote, offered_tags
from ragtrial.domain.score import LoggedOpinion, Score
from ragtrial.domain.trial import Trial
from ragtrial.report import words
from ragtrial.suite.curating import answered_beside, gold_behind, kept_passages, served_as
from ragtrial_board.stores import Stores

Tone = Literal["baseline", "custom", "reference"]

TONES: Mapping[str, Tone] = {"control": "baseline", "treatment": "custom"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A passage in a ranking.

    Attributes:
        rank: From 1.
        passage_id: Its id.
        similarity: The store's score.
        title: May be empty.
        text: None where the log does not keep it.
        grade: Its judgment; None where it has none.
        other: Its rank in the other arm; None where that did not find it, or there is no other arm.
        cited: The answer rests on it.
        team: Mode interleaved: which arm's ranking it came from.
    """

    rank: int
    passage_id: str
    similarity: float
    title: str
    text: str | None
    grade: int | None
    other: int | None
    cited: bool
    team: Team | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A metric of one line on this query.

    Attributes:
        value: Mean over the `n` trials that have one; None where none has.
        n: Trials with a value.
        of: Trials that were scored or have a reason.
        reason: Why a trial has none; None where all have one.
    """

    value: float | None
    n: int
    of: int
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """What an arm or a reference line did with the query, in one trial.

    Attributes:
        label: Its name, with its role where the name doesn't say it.
        tone: Its colour.
        trial: None where there is no trial of it.
        places: Best first; empty where it found nothing.
        scores: By metric, over all its repetitions.
        said: What LLM judges said of this trial.
        repetitions: Trials that it has of this query.
        live: The live trial, or None.
    """

    label: str
    tone: Tone
    trial: Trial | None
    places: tuple[Place, ...] = ()
    scores: Mapping[str, Measured] = field(default_factory=dict)
    said: tuple[LoggedOpinion, ...] = ()
    repetitions: int = 1
    live: LiveTrial | None = None

    @property
    def found(self) -> int:
        """Relevant passages that it found."""
        return sum((place.grade or 0) > 0 for place in self.places)

    @property
    def first_relevant(self) -> int | None:
        """The rank of its best relevant passage."""
        return next((place.rank for place in self.places if (place.grade or 0) > 0), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A relevant passage that an arm did not find: `found_by` are the labels of the arms that did."""

    passage_id: str
    title: str
    text: str | None
    grade: int
    found_by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One query with all that is known of it.

    Attributes:
        experiment: Name of the experiment.
        query_id: Of the gold set; None where it is not in it.
        text: None where it is not kept, or hidden.
        hidden: What users typed is kept from this visitor.
        tags: As in the gold set.
        answers: Reference answers.
        relevant: Relevant passages in the gold set; None where nothing is known of the query there.
        arms: The control, then the treatment; of live traffic one of them, or both in mode shadow.
        references: Lines beside them.
        missing: Relevant passages that an arm did not find, the best first.
        votes: On the live trial, with their history.
        signals: What its user did with it.
    """

    experiment: str
    query_id: str | None
    text: str | None
    hidden: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    relevant: int | None = None
    arms: tuple[Line, ...] = ()
    references: tuple[Line, ...] = ()
    missing: tuple[Missing, ...] = ()
    votes: tuple[Vote, ...] = ()
    signals: tuple[SignalEvent, ...] = ()


def asked_offline(stores: Stores, evaluation: Evaluation, query_id: str) -> Asked | None:
    """A query of an evaluation; None where it was not asked there."""
    reader, evaluation_id = stores.reader, evaluation.evaluation_id
    gold = reader.gold(evaluation_id, [query_id])
    if not gold.queries:
        return None
    query, grades = gold.queries[0], gold.qrels()[query_id]
    trials = reader.trials(evaluation_id, query_ids=[query_id])
    found = {passage_id for trial in trials if trial.ranking is not None for passage_id in trial.ranking.passage_ids}
    texts = reader.passages(evaluation_id, found | set(grades))
    scores, said = reader.scores_of(evaluation_id, query_id), reader.opinions(evaluation_id, query_ids=[query_id])
    shown = {facts.arm: _first([trial for trial in trials if trial.arm == facts.arm]) for facts in evaluation.arms}
    of_role = {facts.role: shown[facts.arm] for facts in evaluation.arms}
    others = {"control": of_role.get("treatment"), "treatment": of_role.get("control")}
    lines = [
        Line(
            label=words.with_role(facts.arm, TONES.get(facts.role)),
            tone=TONES.get(facts.role, "reference"),
            trial=trial,
            places=_places(trial, others.get(facts.role), grades, texts),
            scores=_measured([each for key, found_scores in scores.items() if key[0] == facts.arm for each in found_scores]),
            said=tuple(each for each in said if trial is not None and (each.arm, each.trial_repetition) == (facts.arm, trial.repetition)),
            repetitions=sum(each.arm == facts.arm for each in trials),
        )
        for facts in evaluation.arms
        for trial in [shown[facts.arm]]
    ]
    arms = tuple(sorted((line for line in lines if line.tone != "reference"), key=lambda line: line.tone == "custom"))
    return Asked(
        experiment=evaluation.experiment,
        query_id=query_id,
        text=query.text,
        tags=query.tags,
        answers=query.answers,
        relevant=sum(grade > 0 for grade in grades.values()),
        arms=arms,
        references=tuple(line for line in lines if line.tone == "reference"),
        missing=_missing(grades, arms, texts),
    )


def asked_live(stores: Stores, trial_id: str) -> Asked | None:
    """A live trial with the other one of its request, where there is one; None where there is no such trial."""
    trial = stores.live.trial(trial_id)
    if trial is None:
        return None
    beside = answered_beside(stores.live, trial)
    both = [each for each in (trial, beside) if each is not None]
    served = served_as(stores.live, trial)
    roles = {} if served is None else {arm["name"]: arm["role"] for arm in served.plan.get("arms", ())}
    both.sort(key=lambda each: roles.get(each.trial.arm) == "treatment")
    query, grades = _gold_of(stores, trial, served)
    found = {passage_id for each in both if each.trial.ranking is not None for passage_id in each.trial.ranking.passage_ids}
    texts = kept_passages(stores.reader, served, found | set(grades or {}))
    arms = tuple(
        _live_line(stores, each, roles.get(each.trial.arm, ""), next((x.trial for x in both if x is not each), None), grades or {}, texts)
        for each in both
    )
    return Asked(
        experiment=trial.experiment,
        query_id=trial.query.gold_query_id,
        text=trial.query.text,
        tags={} if query is None else query.tags,
        answers=() if query is None else query.answers,
        relevant=None if grades is None else sum(grade > 0 for grade in grades.values()),
        arms=arms,
        missing=_missing(grades or {}, arms, texts),
        votes=stores.live.votes_of(trial.request_id),
        signals=stores.live.signals_of(trial.request_id),
    )


HIDDEN = "hidden from your role"


def without_texts(asked: Asked) -> Asked:
    """A live query for those who may not read what users typed, nor what was said of it in words."""
    return replace(
        asked,
        text=None,
        hidden=True,
        arms=tuple(map(_line_without_texts, asked.arms)),
        votes=tuple(map(_vote_without_texts, asked.votes)),
    )


def _vote_without_texts(vote: Vote) -> Vote:
    tags = offered_tags(vote.tags)
    return replace(vote, comment=HIDDEN if vote.comment else "", tags=tags if tags == vote.tags else (*tags, HIDDEN))


def _line_without_texts(line: Line) -> Line:
    trial = line.trial
    if trial is None:
        return line
    answer, failure = trial.answer, trial.failure
    if answer is not None and answer.text:
        trial = replace(trial, answer=replace(answer, text=HIDDEN))
    if failure is not None:
        trial = replace(trial, failure=replace(failure, message=HIDDEN))
    said = tuple(replace(each, opinion=replace(each.opinion, rationale=HIDDEN)) for each in line.said)
    live = line.live
    if live is not None:
        query = StoredQuery(text=None, digest=live.query.digest, stored="hash", gold_query_id=live.query.gold_query_id)
        live = replace(live, trial=trial, query=query)
    return replace(line, trial=trial, said=said, live=live)


def _live_line(
    stores: Stores, trial: LiveTrial, role: str, other: Trial | None, grades: Mapping[str, int], texts: Mapping[str, Passage]
) -> Line:
    scores = stores.live.scores_of(trial.trial_id)
    said = [
        LoggedOpinion(arm=trial.trial.arm, query_id=trial.query.digest, trial_repetition=0, metric=score.metric, opinion=opinion)
        for score in scores
        for opinion in score.opinions
    ]
    return Line(
        label=words.with_role(trial.trial.arm, TONES.get(role)),
        tone=TONES.get(role, "reference"),
        trial=trial.trial,
        places=_places(trial.trial, other, grades, texts, trial.teams),
        scores=_measured(scores),
        said=tuple(said),
        live=trial,
    )


def _gold_of(stores: Stores, trial: LiveTrial, served: LiveExperiment | None) -> tuple[Query | None, Mapping[str, int] | None]:
    gold = gold_behind(stores.reader, served, trial)
    return (None, None) if gold is None else (gold.queries[0], gold.qrels()[gold.queries[0].query_id])


def _measured(scores: Sequence[Score]) -> dict[str, Measured]:
    by_metric: dict[str, list[Score]] = {}
    for score in scores:
        by_metric.setdefault(score.metric, []).append(score)
    found: dict[str, Measured] = {}
    for metric, several in by_metric.items():
        values = [score.value for score in several if score.value is not None]
        found[metric] = Measured(
            value=sum(values) / len(values) if values else None,
            n=len(values),
            of=len(several),
            reason=next((score.unscored for score in several if score.unscored is not None), None),
        )
    return found


def _first(trials: Sequence[Trial]) -> Trial | None:
    """The first repetition that has a ranking; the first one where none has."""
    return next((trial for trial in trials if trial.ranking is not None), next(iter(trials), None))


def _places(
    trial: Trial | None,
    other: Trial | None,
    grades: Mapping[str, int],
    texts: Mapping[str, Passage],
    teams: Mapping[str, Team] | None = None,
) -> tuple[Place, ...]:
    if trial is None or trial.ranking is None:
        return ()
    theirs = {} if other is None or other.ranking is None else {hit: rank for rank, hit in enumerate(other.ranking.passage_ids, start=1)}
    cited: Collection[str] = () if trial.answer is None else trial.answer.cited
    return tuple(
        Place(
            rank=rank,
            passage_id=hit.passage_id,
            similarity=hit.similarity,
            title=texts[hit.passage_id].title if hit.passage_id in texts else "",
            text=texts[hit.passage_id].text if hit.passage_id in texts else None,
            grade=grades.get(hit.passage_id),
            other=theirs.get(hit.passage_id),
            cited=hit.passage_id in cited,
            team=None if teams is None else teams.get(hit.passage_id),
        )
        for rank, hit in enumerate(trial.ranking.hits, start=1)
    )


def _missing(grades: Mapping[str, int], arms: Sequence[Line], texts: Mapping[str, Passage]) -> tuple[Missing, ...]:
    by_arm = {line.label: {place.passage_id for place in line.places} for line in arms}
    found: list[Missing] = []
    for passage_id, grade in sorted(grades.items(), key=lambda each: (-each[1], each[0])):
        by = tuple(label for label, ids in by_arm.items() if passage_id in ids)
        if grade > 0 and len(by) < len(by_arm):
            passage = texts.get(passage_id)
            text, title = (None, "") if passage is None else (passage.text, passage.title)
            found.append(Missing(passage_id=passage_id, title=title, text=text, grade=grade, found_by=by))
    return tuple(found)
