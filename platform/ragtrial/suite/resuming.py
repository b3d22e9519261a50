"""An evaluation begun anew, gone on with after a kill, or asked again where calls failed."""

import dataclasses
from collections.abc import Callable, Sequence

from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.evaluation import Evaluation
from ragtrial.errors import InputError
from ragtrial.evaluation import Line
from ragtrial.scoring.reasons import JUDGE_FAILED
from ragtrial.suite.preparing import Prepared


def open_or_resume(
    evaluation: Evaluation, prepared: Prepared, lines: Sequence[Line], *, recorder: Recorder, reader: Reader, resume: bool
) -> tuple[str, set[tuple[str, str, int]] | None]:
    """The id to log under and what is done already; None instead of that where a finished evaluation is taken as it is."""
    known = reader.find(evaluation.config_digest, finished=None) if resume else None
    if known is not None and known.finished_at is not None:
        return known.evaluation_id, None
    if known is not None:
        recorder.resume(known.evaluation_id)
        return known.evaluation_id, reader.done(known.evaluation_id)
    judged = {judgment.target_id for judgment in prepared.gold.judgments}
    n_trials = len(prepared.gold.queries) * len(lines) * prepared.experiment.repetitions
    recorder.open_evaluation(
        evaluation,
        experiment=prepared.experiment,
        gold=prepared.gold,
        n_trials_planned=n_trials,
        passages=[prepared.corpus.by_id[passage_id] for passage_id in sorted(judged)],
    )
    return evaluation.evaluation_id, set()


def retried(evaluation: Evaluation, reader: Reader, say: Callable[[str], None]) -> tuple[Evaluation, bool]:
    """The evaluation that asks again what failed, and whether there is nothing to ask, so that the finished one is taken.

    Raises:
        InputError: No finished evaluation of this configuration is there.
    """
    before = reader.find(evaluation.config_digest, finished=True)
    if before is None:
        raise InputError(
            "--retry-failed: nothing of this plan, data and models is finished yet; --resume goes on with what was interrupted"
        )
    trials = sum(trial.failure is not None for trial in reader.trials(before.evaluation_id))
    judgments = sum((logged.opinion.unscored or "").startswith(JUDGE_FAILED) for logged in reader.opinions(before.evaluation_id))
    failed = f"{trials:,} failed trials and {judgments:,} failed judgments of evaluation {before.evaluation_id}"
    if not trials and not judgments:
        say(f"{failed}: there is nothing to ask again, its result is taken as it is")
        return before, True
    say(f"{failed} are asked again as evaluation {evaluation.evaluation_id}; the others come from the cache of calls")
    detail = f"{failed} were asked again: a second try for what failed only shifts the distribution, most where the arms failed differently"
    return dataclasses.replace(evaluation, checks={**evaluation.checks, "retried": ("warn", detail)}), False


def resumption(evaluation_id: str, done: set[tuple[str, str, int]] | None) -> str:
    """What there is to go on with, in words; `done` as `open_or_resume` found it."""
    if done is None:
        return f"evaluation {evaluation_id} is finished: its result is taken as it is"
    if not done:
        return f"nothing of this plan, data and models is logged yet: evaluation {evaluation_id} starts from the beginning"
    return f"evaluation {evaluation_id} goes on: {len(done):,} trials are logged already"
