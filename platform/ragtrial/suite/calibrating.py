"""Judges beside people: what to label next, labels read in, and what they come to."""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np

from ragtrial.analysis.calibrating import beside, calibrations_of, corrected_fit, usable
from ragtrial.analysis.setting import Setting
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.calibration import Calibration
from ragtrial.domain.corpus import Passage
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.gold import Query
from ragtrial.domain.label import LABEL_WORDS, Label, Selection
from ragtrial.domain.score import LoggedOpinion
from ragtrial.domain.trial import Trial
from ragtrial.errors import InputError, NotEnoughDataError, ValidationError
from ragtrial.formats.experiment import ExperimentFile, sql_url
from ragtrial.formats.labels import Item, LabelFile, LabelLine, read_labels, write_items
from ragtrial.formats.validation import Findings, shortened
from ragtrial.stats.labelling import items_to_label, planned_half_width, realised_chances
from ragtrial.suite.concluding import find_evaluation

TrialKey = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A finished evaluation with what the judge and people said of it.

    Attributes:
        setting: For the analysis.
        queries: By id.
        trials: Of both arms, those with an answer.
        passages: Texts by id.
        opinions: Of LLM judges.
        scorers: Version of what scored each metric.
        labels: Of all evaluations of the experiment.
    """

    setting: Setting
    queries: Mapping[str, Query]
    trials: tuple[Trial, ...]
    passages: Mapping[str, Passage]
    opinions: tuple[LoggedOpinion, ...]
    scorers: Mapping[str, str]
    labels: tuple[Label, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The judged metrics that people can be asked about, the primary first."""
        planned = self.setting.experiment.metrics.names
        return tuple(name for name in planned if name in self.setting.tables and name in LABEL_WORDS)

    def opinions_on(self, metric: str) -> list[LoggedOpinion]:
        """What the judge said on one metric."""
        return [each for each in self.opinions if each.metric == metric]

    def calibrations(self, metric: str | None = None) -> tuple[Calibration, ...]:
        """Every judged metric beside people, or the one that is named."""
        found = {each.metric: each for each in calibrations_of(self.setting, self.labels, self.opinions, self.scorers)}
        return tuple(found[name] for name in self.metrics if metric in (None, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What was drawn to be labelled.

    Attributes:
        path: Where it was written.
        metric: What it asks.
        n_items: Answers to label.
        n_queries: Queries that they are of.
        half_width: Half of the corrected interval's width now; None where it can't be told yet.
        half_width_then: With these labels, as planned; None likewise.
        why_not: Why they can't be told, or None.
    """

    path: Path
    metric: str
    n_items: int
    n_queries: int
    half_width: float | None = None
    half_width_then: float | None = None
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was read in.

    Attributes:
        path: From where.
        metric: What was asked.
        n_rows: Rows with a label.
        n_labels: Labels made of them: an answer that both arms gave counts for both.
        n_blank: Rows without one.
        warnings: What was odd in the file.
    """

    path: Path
    metric: str
    n_rows: int
    n_labels: int
    n_blank: int
    warnings: tuple[str, ...] = field(default=())


def open_judged(reader: Reader, file: ExperimentFile, evaluation_id: str | None) -> Judged:
    """The evaluation of this id, or the experiment's latest finished one.

    Raises:
        InputError: There is none, or it has no judged metric that people can be asked about.
    """
    experiment = file.experiment
    evaluation = find_evaluation(reader, experiment.name, evaluation_id)
    if evaluation.finished_at is None:
        raise InputError(f"evaluation {evaluation.evaluation_id!r} is not finished: ragtrial evaluate ... --resume goes on with it")
    found = evaluation.evaluation_id
    tables = reader.scores(found)
    arms = {arm.name for arm in experiment.arms}
    trials = tuple(trial for trial in reader.trials(found) if trial.arm in arms and trial.answer is not None)
    shown = {hit.passage_id for trial in trials if trial.ranking is not None for hit in trial.ranking.hits}
    judged = Judged(
        setting=Setting(evaluation=evaluation, experiment=experiment, plan=experiment.analysis, tables=tables, failures={}),
        queries={query.query_id: query for query in reader.gold(found).queries},
        trials=trials,
        passages=reader.passages(found, shown),
        opinions=reader.opinions(found),
        scorers=reader.scorers(found),
        labels=reader.labels(experiment.name),
    )
    if not judged.metrics:
        raise InputError(
            f"evaluation {found!r} has no metric that people can be asked about: there are {', '.join(LABEL_WORDS)}; "
            "plan one of them (metrics) and evaluate again"
        )
    return judged


def metric_of(judged: Judged, name: str | None) -> str:
    """The metric that is meant: the one named, or the first in the plan.

    Raises:
        InputError: It was not judged, or people can't be asked about it.
    """
    if name is None:
        return judged.metrics[0]
    if name not in judged.metrics:
        raise InputError(f"--metric {name!r}: people can be asked about {', '.join(judged.metrics)} in this evaluation")
    return name


def items_of(judged: Judged, metric: str) -> dict[str, tuple[Item, tuple[TrialKey, ...]]]:
    """Every answer of both arms that the judge gave a value, by item id, with the trials that gave it.

    Equal answers to one query are one item, whichever arm gave them: people are asked once. Where groundedness is asked, the passages
    are part of what makes answers equal.
    """
    valued = {(each.arm, each.query_id, each.trial_repetition) for each in judged.opinions_on(metric) if each.opinion.value is not None}
    found: dict[str, Item] = {}
    trials: defaultdict[str, list[TrialKey]] = defaultdict(list)
    for trial in judged.trials:
        key = (trial.arm, trial.query_id, trial.repetition)
        if key in valued:
            item = _item(judged, metric, trial)
            found.setdefault(item.item_id, item)
            trials[item.item_id].append(key)
    return {item_id: (item, tuple(trials[item_id])) for item_id, item in found.items()}


def items_to_ask(
    items: Mapping[str, tuple[Item, tuple[TrialKey, ...]]], query_ids: Collection[str], rng: np.random.Generator
) -> list[Item]:
    """The answers of both arms to these queries, each arm's first repetition, in an order that tells nothing.

    Args:
        items: From `items_of`.
        query_ids: Those that were drawn.
        rng: Where the order comes from.
    """
    firsts: dict[tuple[str, str], tuple[int, Item]] = {}
    for item, trials in items.values():
        for arm, query_id, repetition in trials:
            if query_id in query_ids and repetition <= firsts.get((arm, query_id), (repetition, item))[0]:
                firsts[arm, query_id] = (repetition, item)
    found = list({item.item_id: item for _, item in firsts.values()}.values())
    return [found[place] for place in rng.permutation(len(found))]


def _item(judged: Judged, metric: str, trial: Trial) -> Item:
    experiment = judged.setting.experiment
    arm = next(arm for arm in experiment.arms if arm.name == trial.arm)
    query, answer = judged.queries[trial.query_id], "" if trial.answer is None else trial.answer.text
    read = () if trial.ranking is None else trial.ranking.passage_ids[: experiment.generation_of(arm).context_passages]
    by_passages = "grounded" in LABEL_WORDS[metric]
    about = [judged.setting.evaluation.evaluation_id, metric, trial.query_id, answer, *(read if by_passages else ())]
    return Item(
        item_id=f"answer-{digest(about, length=12)}",  # digits alone, or digits and one e, would be a number to a spreadsheet
        question=query.text,
        references=query.answers,
        passages=tuple(judged.passages[passage_id].content for passage_id in read if passage_id in judged.passages),
        answer=answer,
    )


def propose(judged: Judged, metric: str, *, n_queries: int, output: Path) -> Proposal:
    """Draw queries of which both arms' answers are to be labelled, and write them in an order that tells nothing.

    The draw is random with known chances (`stats.labelling.items_to_label`), denser where the judge contradicted itself, and leaves out
    what was drawn and labelled before. It is fixed by the plan's seed and by what is labelled.

    Args:
        judged: The evaluation.
        metric: From `metric_of`.
        n_queries: How many more.
        output: The CSV to write.

    Raises:
        NotEnoughDataError: There are not so many queries left, or too few are asked for.
        InputError: The file is there already.
    """
    setting = judged.setting
    labels = usable(setting, [label for label in judged.labels if label.metric == metric], judged.scorers[metric])
    both = beside(setting, metric, labels, judged.opinions_on(metric))
    rng = setting.rng("label", metric, setting.evaluation.evaluation_id, str(len(both.labelled)))
    drawn = items_to_label(both.scores.differences, list(both.labelled), more=n_queries, rng=rng, uncertainty=both.uncertainty)
    items = items_to_ask(items_of(judged, metric), {both.scores.query_ids[row] for row in drawn.rows}, rng)
    write_items(output, items, list(LABEL_WORDS[metric]))
    proposal = Proposal(path=output, metric=metric, n_items=len(items), n_queries=n_queries)
    try:
        fit = corrected_fit(both, alpha=setting.plan.alpha)
        now = planned_half_width(fit, more=0, alpha=setting.plan.alpha)
        then = planned_half_width(fit, more=n_queries if both.is_paired else 2 * n_queries, alpha=setting.plan.alpha)
    except NotEnoughDataError as error:
        return dataclasses.replace(proposal, why_not=str(error))
    return dataclasses.replace(proposal, half_width=now, half_width_then=then)


def import_labels(judged: Judged, file: ExperimentFile, path: Path, metric: str, *, selection: Selection | None, labeller: str) -> Imported:
    """Read labels in, all of them or none.

    Args:
        judged: The evaluation that they are of.
        file: The experiment, for its database.
        path: A proposed CSV that was filled in, or one's own.
        metric: What was asked.
        selection: How the answers of the whole file came to be labelled; a proposed file is random unless it says otherwise.
        labeller: Who filled it in, where the rows don't say it.

    Raises:
        ValidationError: With every fault in the file at once: file, line, field. Nothing was written then.
    """
    findings = Findings()
    read = findings.require(read_labels(path, findings))
    reading = _Reading(judged=judged, metric=metric, file=read, findings=findings, selection=selection, labeller=labeller)
    labels = reading.labels()
    if findings.problems:
        raise ValidationError(findings.problems)
    if read.proposed:
        labels = _with_chances(judged, metric, labels)
    with Recorder(sql_url(file)) as recorder:
        recorder.add_labels(labels)
    warned = tuple(str(warning) for warning in findings.warnings)
    return Imported(path=path, metric=metric, n_rows=len(read.lines), n_labels=len(labels), n_blank=read.n_blank, warnings=warned)


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """A file checked against the evaluation that it is of."""

    judged: Judged
    metric: str
    file: LabelFile
    findings: Findings
    selection: Selection | None
    labeller: str

    def labels(self) -> list[Label]:
        """What the rows say; faults are noted."""
        items = items_of(self.judged, self.metric)
        known = {trial for _, trials in items.values() for trial in trials}
        seen: dict[tuple[object, ...], int] = {}
        labels: list[Label] = []
        for line in self.file.lines:
            trials = items[line.item_id][1] if line.item_id in items else ()
            if not self.file.proposed:
                trials = self._own_trial(line, known)
            elif not trials:
                self._problem(line, "item", f"{shortened(line.item_id)} is no answer of this evaluation: was it drawn from another one?")
            selection, labeller = self._selection(line), line.labeller or self.labeller
            word_known = self._word(line)
            if not (trials and word_known and selection):
                continue
            first = seen.setdefault((trials, labeller), line.line)
            if first != line.line:
                self._problem(line, "item" if self.file.proposed else "query_id", f"stands in line {first} already: keep one of them")
            labels += [self._label(trial, line, selection, labeller) for trial in trials]
        return labels

    def _own_trial(self, line: LabelLine, known: set[TrialKey]) -> tuple[TrialKey, ...]:
        arms = [arm.name for arm in self.judged.setting.experiment.arms]
        before = len(self.findings.problems)
        if line.arm not in arms:
            self._problem(line, "arm", f"{shortened(line.arm)} is no arm: give {' or '.join(arms)}")
        if line.query_id not in self.judged.queries:
            self._problem(line, "query_id", f"{shortened(line.query_id)} was not asked in this evaluation")
        if line.repetition is None or len(self.findings.problems) > before:
            return ()
        trial = (line.arm, line.query_id, line.repetition)
        if trial not in known:
            self._problem(line, "query_id", f"the judge gave no value to repetition {line.repetition} of {line.query_id!r} in {line.arm!r}")
            return ()
        return (trial,)

    def _word(self, line: LabelLine) -> bool:
        words = LABEL_WORDS[self.metric]
        if line.word not in words:
            self._problem(line, "label", f"{shortened(line.word)} is none of {', '.join(words)}")
        return line.word in words

    def _selection(self, line: LabelLine) -> Selection | None:
        said = line.selection or self.selection or ("random" if self.file.proposed else "")
        for each in get_args(Selection):
            if said == each:
                return each  # type: ignore[no-any-return]  # one of the literals
        how = f"{shortened(said)} is neither" if said else "it is not said whether these answers were drawn at random:"
        self._problem(line, "selection", f"{how} random nor volunteered" if said else f"{how} give --selection random, or volunteered")
        return None

    def _label(self, trial: TrialKey, line: LabelLine, selection: Selection, labeller: str) -> Label:
        arm, query_id, repetition = trial
        return Label(
            evaluation_id=self.judged.setting.evaluation.evaluation_id,
            arm=arm,
            query_id=query_id,
            repetition=repetition,
            metric=self.metric,
            word=line.word,
            value=LABEL_WORDS[self.metric][line.word],
            scorer=self.judged.scorers[self.metric],
            selection=selection,
            labeller=labeller,
            note=line.note,
        )

    def _problem(self, line: LabelLine, field: str, message: str) -> None:
        self.findings.problem(message, path=str(self.file.path), line=line.line, field=field)


def _with_chances(judged: Judged, metric: str, labels: Sequence[Label]) -> list[Label]:
    """Proposed labels with the chance that each one's query had to be drawn, as it stands now."""
    setting = judged.setting
    before = usable(setting, [label for label in judged.labels if label.metric == metric], judged.scorers[metric])
    both = beside(setting, metric, [*before, *(label for label in labels if label.selection == "random")], judged.opinions_on(metric))
    rows = both.labelled
    found = realised_chances(both.scores.differences, list(rows), uncertainty=both.uncertainty, all_strata=False)
    chances = {both.scores.query_ids[row]: float(chance) for row, chance in zip(rows, found, strict=True)}
    return [
        dataclasses.replace(label, probability=chances.get(label.query_id)) if label.selection == "random" else label for label in labels
    ]
