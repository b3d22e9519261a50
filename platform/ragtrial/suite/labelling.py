"""The labelling queue: which judged answers people should look at next, and what they say, recorded one by one.

Queries are drawn in rounds, each by `stats.labelling.items_to_label` on top of those before it, so that after any number of rounds those
drawn are one stratified random sample with known chances. What is drawn is fixed by the plan's seed alone: everybody gets the same items
in the same order, whenever they come. It is stored with the conclusion of the evaluation, for speed alone: drawn again it is the same.
Labels are worth what labels from a file are (`suite.calibrating.import_labels`), with which they may be mixed.
"""

import dataclasses
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ragtrial.analysis.calibrating import Beside, corrected_fit, planned_widths, usable, with_labels
from ragtrial.analysis.label_rounds import Drawn, draw, read_drawn
from ragtrial.analysis.setting import Setting
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder, utc_now
from ragtrial.domain.access import Role, Scope, allows
from ragtrial.domain.calibration import PlannedWidth
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.label import LABEL_WORDS, Label
from ragtrial.errors import InputError, NotEnoughDataError
from ragtrial.formats.experiment import logged_experiment
from ragtrial.formats.labels import Item
from ragtrial.formats.validation import fault_in
from ragtrial.report.summary import CONCLUSION_FORM
from ragtrial.stats.influence import MIN_LABELS
from ragtrial.stats.labelling import planned_half_width
from ragtrial.suite.calibrating import Judged, TrialKey, items_of, items_to_ask

FIRST_ESTIMATE = 2 * MIN_LABELS
"""Answers from which people's labels may correct the judge, both arms' to each query."""

LONGEST_NOTE = 1000
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueItem:
    """An answer that somebody is asked about; it tells neither the arm nor what the judge said.

    Attributes:
        item_id: Its name, as in a file of `ragtrial calibrate --propose`.
        question: What was asked.
        references: Reference answers; may be empty.
        passages: What the generator read, where the metric is about that; else empty.
        answer: What it answered; empty where it abstained.
    """

    item_id: str
    question: str
    references: tuple[str, ...]
    passages: tuple[str, ...]
    answer: str


@dataclass(frozen=True, kw_only=True)
class Queue:
    """What people are asked of one evaluation and metric, in order; the same for everybody.

    Attributes:
        metric: What is asked.
        words: The labels, the best first.
        scorer: Version of the judge.
        items: In the order in which they are asked.
        trials: Who gave each answer, by item id; of one answer that both arms gave, both.
        chances: Chance of each item's query to be among those drawn by its round, by item id.
        setting: Of the evaluation, without scores.
        base: The judge's scores, without labels.
        turn: Whoever records takes it: a key that is pressed twice comes in on two threads.
    """

    metric: str
    words: tuple[str, ...]
    scorer: str
    items: tuple[QueueItem, ...]
    trials: Mapping[str, tuple[TrialKey, ...]]
    chances: Mapping[str, float]
    setting: Setting
    base: Beside
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def evaluation_id(self) -> str:
        """Whose answers they are."""
        return self.setting.evaluation.evaluation_id

    def item(self, item_id: str) -> QueueItem:
        """The item of this id.

        Raises:
            InputError: There is none.
        """
        found = next((item for item in self.items if item.item_id == item_id), None)
        if found is None:
            raise InputError(f"{item_id!r} is no item of this queue: was it drawn from another evaluation?")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one person said of an item last."""

    word: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far one person has come, and what all labels together have come to.

    Attributes:
        said: What this person said, by item id, the last one at the end; items of this queue only.
        n_answers: Answers that anybody labelled, in the queue or in a file, and that count.
        n_labellers: People who labelled them.
        half_width: Half of the corrected difference's interval now; None where it can't be told yet, and `why_not` says why.
        planned: What more labels would bring; empty where that can't be told.
        to_halve: About how many more answers make the interval half as wide; None where that can't be told, or where all don't suffice.
        why_not: Or None.
    """

    said: Mapping[str, Said]
    n_answers: int
    n_labellers: int
    half_width: float | None = None
    planned: tuple[PlannedWidth, ...] = ()
    to_halve: int | None = None
    why_not: str | None = None


def metrics_to_ask(reader: Reader, evaluation_id: str) -> tuple[str, ...]:
    """The judged metrics of an evaluation's plan that people can be asked about, the primary first; empty where there is none."""
    return tuple(name for name in _experiment_of(reader, evaluation_id).metrics.names if name in LABEL_WORDS)


def open_queue(reader: Reader, evaluation_id: str, metric: str, board: BoardReader | None = None) -> Queue:
    """What people are to be asked: as it was drawn when the evaluation was concluded; before that it is drawn now, which comes to the same.

    Drawing reads all scores and opinions of the metric, which takes seconds for 100,000 trials. Either way, keep the queue.

    Args:
        reader: Of the log.
        evaluation_id: A finished evaluation.
        metric: One of `metrics_to_ask`.
        board: Of the same database; without it the queue is drawn.

    Raises:
        InputError: There is no such evaluation, it is not finished, or the judge scored no query in both arms on this metric.
    """
    evaluation, experiment = reader.evaluation(evaluation_id), _experiment_of(reader, evaluation_id)
    if evaluation.finished_at is None:
        raise InputError(f"evaluation {evaluation_id!r} is not finished: ragtrial evaluate ... --resume goes on with it")
    if metric not in LABEL_WORDS or metric not in experiment.metrics.names:
        raise InputError(f"people can't be asked about {metric!r} in evaluation {evaluation_id!r}")
    setting = Setting(evaluation=evaluation, experiment=experiment, plan=experiment.analysis, tables={}, failures={})
    drawn = _stored(board, evaluation_id, metric) or _drawn(reader, setting, metric)
    if not drawn.rounds:
        raise InputError(f"the judge scored no query in both arms on {metric!r}: there is nothing that a label could be held against")
    chances = {query_id: chance for part in drawn.rounds for query_id, chance in part.items()}
    items = _items(reader, setting, metric, chances)
    asked = [
        item
        for number, part in enumerate(drawn.rounds)
        for item in items_to_ask(items, part, setting.rng("order", metric, evaluation_id, str(number)))
    ]
    trials = {item.item_id: items[item.item_id][1] for item in asked}
    return Queue(
        metric=metric,
        words=tuple(LABEL_WORDS[metric]),
        scorer=drawn.scorer,
        items=tuple(_asked(item, metric) for item in asked),
        trials=trials,
        chances={item_id: chances[given[0][1]] for item_id, given in trials.items()},
        setting=setting,
        base=drawn.both,
    )


def _stored(board: BoardReader | None, evaluation_id: str, metric: str) -> Drawn | None:
    """As it was drawn when the evaluation was concluded; None where it was not, or in another form."""
    found = None if board is None else board.labelling_queue(evaluation_id, metric)
    return None if found is None or found.form != CONCLUSION_FORM else read_drawn(found.document)


def _drawn(reader: Reader, setting: Setting, metric: str) -> Drawn:
    evaluation_id = setting.evaluation.evaluation_id
    scored = dataclasses.replace(setting, tables=reader.scores(evaluation_id, [metric]))
    return draw(scored, metric, reader.opinions(evaluation_id, [metric]), reader.scorers(evaluation_id).get(metric, ""))


def _items(reader: Reader, setting: Setting, metric: str, query_ids: Collection[str]) -> dict[str, tuple[Item, tuple[TrialKey, ...]]]:
    """Every answer of both arms to these queries that the judge gave a value."""
    evaluation_id, arms = setting.evaluation.evaluation_id, {arm.name for arm in setting.experiment.arms}
    given = reader.trials(evaluation_id, query_ids=query_ids)
    trials = tuple(trial for trial in given if trial.answer is not None and trial.arm in arms)
    shown = {hit.passage_id for trial in trials if trial.ranking is not None for hit in trial.ranking.hits}
    judged = Judged(
        setting=setting,
        queries={query.query_id: query for query in reader.gold(evaluation_id, query_ids).queries},
        trials=trials,
        passages=reader.passages(evaluation_id, shown),
        opinions=reader.opinions(evaluation_id, [metric], query_ids),
        scorers={},
        labels=(),
    )
    return items_of(judged, metric)


def _asked(item: Item, metric: str) -> QueueItem:
    return QueueItem(
        item_id=item.item_id,
        question=item.question,
        references=item.references,
        passages=item.passages if "grounded" in LABEL_WORDS[metric] else (),
        answer=item.answer,
    )


def standing(queue: Queue, reader: Reader, labeller: str) -> Standing:
    """How far one person has come with a queue.

    Args:
        queue: From `open_queue`.
        reader: Of the same log.
        labeller: Their name.

    Raises:
        StoreError: The database failed.
    """
    labels = _labels(queue, reader)
    arms, alpha = queue.setting.experiment, queue.setting.plan.alpha
    both = with_labels(queue.base, labels, control=arms.control.name, treatment=arms.treatment.name)
    counted = Standing(
        said=_said(queue, labels, labeller.strip()),
        n_answers=len({label.trial for label in labels}),
        n_labellers=len({label.labeller for label in labels}),
    )
    try:
        fit = corrected_fit(both, alpha=alpha)
        now = planned_half_width(fit, more=0, alpha=alpha)
    except NotEnoughDataError as error:
        return dataclasses.replace(counted, why_not=str(error))
    rows = _first(lambda more: planned_half_width(fit, more=more, alpha=alpha) <= now / 2.0, fit.n_unlabelled)
    to_halve = None if rows is None else rows * (2 if both.is_paired else 1)
    return dataclasses.replace(counted, half_width=now, planned=planned_widths(both, alpha=alpha), to_halve=to_halve)


def _first(enough: Callable[[int], bool], most: int) -> int | None:
    """The least number from 1 to `most` that is enough, where more never is less; None where none is, or where that can't be told."""
    high = min(1, most)
    try:
        while high and not enough(high):
            if high == most:
                return None
            high = min(2 * high, most)
    except NotEnoughDataError:
        return None
    low = high // 2 + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high or None


def next_item(queue: Queue, at: Standing, skipped: Collection[str] = ()) -> QueueItem | None:
    """The first item that this person has neither labelled nor skipped; None where there is none left."""
    return next((item for item in queue.items if item.item_id not in at.said and item.item_id not in skipped), None)


def record(
    url: str,
    queue: Queue,
    item_id: str,
    word: str,
    *,
    labeller: str,
    role: Role | None,
    scopes: Collection[Scope] | None = None,
    note: str = "",
    clock: Callable[[], datetime] = utc_now,
) -> bool:
    """Record what somebody said of an item; it is durable when this returns. Said again, it takes the place of what they said before.

    Args:
        url: SQLAlchemy URL of the log.
        queue: From `open_queue`.
        item_id: Of the item.
        word: One of the queue's words.
        labeller: Their name.
        role: What that person or key is.
        scopes: All that a limited key may do; None: what its role may.
        note: Why, if they say.
        clock: The time.

    Returns:
        Whether a row was added: saying the same again adds none.

    Raises:
        InputError: The role may not label, or item, word, name or note are not what they should be. Nothing was recorded.
        StoreError: The database refused. Nothing was recorded.
    """
    item, name, why = queue.item(item_id), labeller.strip(), note.strip()
    if not allows(role, scopes, "feedback"):  # whoever may vote, for labelling shows no results
        raise InputError(f"{name!r} is a {role} and may not label: ask for the role of a tester")
    if word not in queue.words:
        raise InputError(f"{word!r} is none of {', '.join(queue.words)}")
    _check("name", name, LONGEST_NAME)
    _check("note", why, LONGEST_NOTE)
    if not name:
        raise InputError("a label needs somebody who says it: give a name")
    with queue.turn:
        with Reader(url) as reader:
            if _said(queue, _labels(queue, reader), name).get(item_id) == Said(word=word, note=why):
                return False
        with Recorder(url, clock=clock) as recorder:
            recorder.add_labels([_label(queue, item, trial, word, name, why) for trial in queue.trials[item_id]])
    return True


def _check(what: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise InputError(f"the {what} has {len(text):,} characters: give at most {longest:,}")
    if fault := fault_in(text):
        raise InputError(f"the {what} {fault}")


def _label(queue: Queue, item: QueueItem, trial: TrialKey, word: str, labeller: str, note: str) -> Label:
    arm, query_id, repetition = trial
    return Label(
        evaluation_id=queue.evaluation_id,
        arm=arm,
        query_id=query_id,
        repetition=repetition,
        metric=queue.metric,
        word=word,
        value=LABEL_WORDS[queue.metric][word],
        scorer=queue.scorer,
        selection="random",
        probability=queue.chances[item.item_id],
        labeller=labeller,
        note=note,
    )


def _labels(queue: Queue, reader: Reader) -> list[Label]:
    """All that count, the last one of each labeller, in the order in which they were said."""
    own = [label for label in reader.labels(queue.setting.evaluation.experiment) if label.metric == queue.metric]
    return usable(queue.setting, own, queue.scorer)


def _said(queue: Queue, labels: Sequence[Label], labeller: str) -> dict[str, Said]:
    items = {trial: item_id for item_id, trials in queue.trials.items() for trial in trials}
    found: dict[str, Said] = {}
    for label in labels:
        item_id = items.get(label.trial)
        if item_id is not None and label.labeller == labeller:
            found.pop(item_id, None)
            found[item_id] = Said(word=label.word, note=label.note)
    return found


def _experiment_of(reader: Reader, evaluation_id: str) -> Experiment:
    return logged_experiment(reader.experiment_plan(evaluation_id), f"the plan of evaluation {evaluation_id!r}")
