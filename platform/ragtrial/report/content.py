"""What every form of report says, gathered once from domain types."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtrial.domain.corpus import Passage
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.score import LoggedOpinion, ScoreTable
from ragtrial.domain.trial import Trial
from ragtrial.domain.verdict import Analysis
from ragtrial.report.examples import Example, Examples, QueryDifference, differences_of, largest
from ragtrial.report.summary import Summary, summarise

N_EXAMPLES = 10


@dataclass(frozen=True, kw_only=True)
class ReportContent(Summary):
    """What every form of report says: the summary, and what it takes rows to say.

    Attributes:
        differences: Every query scored in both arms on the primary metric, the largest gain first.
        wins: The largest gains.
        losses: The largest losses.
        trials: Of all lines, as logged.
        tables: Scores by metric.
    """

    differences: tuple[QueryDifference, ...]
    wins: tuple[Example, ...]
    losses: tuple[Example, ...]
    trials: tuple[Trial, ...]
    tables: Mapping[str, ScoreTable]


def build_content(
    *,
    evaluation: Evaluation,
    experiment: Experiment,
    analysis: Analysis,
    gold: GoldSet,
    tables: Mapping[str, ScoreTable],
    trials: Sequence[Trial],
    passages: Mapping[str, Passage],
    opinions: Sequence[LoggedOpinion] = (),
) -> ReportContent:
    """Gather what the reports say.

    Args:
        evaluation: The run.
        experiment: The plan.
        analysis: What was concluded.
        gold: With judgments on passages.
        tables: Scores by metric, rows ordered as `trials`.
        trials: Of all lines.
        passages: Texts by id; of those that are missing, only the id is shown.
        opinions: What LLM judges said.
    """
    summary = summarise(evaluation=evaluation, experiment=experiment, analysis=analysis, gold=gold, tables=tables, trials=trials)
    control, treatment = summary.control, summary.treatment
    differences = differences_of(tables[analysis.primary.metric.name], control=control, treatment=treatment)
    gains, losses = largest(differences, N_EXAMPLES)
    examples = Examples(gold=gold, trials=trials, passages=passages, control=control, treatment=treatment, opinions=opinions)
    return ReportContent(
        **{field.name: getattr(summary, field.name) for field in dataclasses.fields(summary)},
        differences=differences,
        wins=tuple(map(examples.example, gains)),
        losses=tuple(map(examples.example, losses)),
        trials=tuple(trials),
        tables=tables,
    )
