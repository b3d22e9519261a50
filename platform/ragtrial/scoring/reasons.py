"""Why a score has no value: one wording for one reason, because scores are counted by it."""

from ragtrial.domain.trial import Trial

NO_ANSWER = "no answer"
"""The experiment has no generation."""

NO_REFERENCE = "no reference answer"
"""The gold set has nothing to compare the query's answer with."""

ABSTAINED = "abstained"
"""There is no answer because the generator found nothing that fits."""

JUDGE_FAILED = "judge failed"
"""Begins the reason of what an LLM judge was asked and gave no usable answer to, e.g. `judge failed: malformed`."""


def why_no_answer(trial: Trial) -> str | None:
    """Why the trial has no answer to score; None where it has one, be it an abstention."""
    if trial.failure is not None:
        return f"failed: {trial.failure.stage}"
    return NO_ANSWER if trial.answer is None else None
