"""Every error that ragtrial raises on purpose.

    RagtrialError                 the message is meant for the user; the command line prints it and exits with 2
    ├── InputError                what was given is wrong: a file, a line, a field, an option
    │   ├── ValidationError       several of them at once, as a list of `Problem`
    │   ├── NoPairError           the sources give no training pair
    │   ├── UnknownTrialError     a vote or a score is for a trial that the log doesn't hold
    │   ├── UnknownSourceError    a vote or a click is for a passage that the answer was not made from
    │   └── UnknownComparisonError    a preference is for a comparison that its caller was not shown
    ├── SetupError                what was given is right, but the machine is not ready for it
    │   ├── BusyError             another process does it just now
    │   ├── MissingExtraError     an optional package is not installed
    │   ├── StoreError            Milvus or SQL refused, is not there, or is not what it should be
    │   │   ├── MissingCollectionError  Milvus has no such collection, or has none any more
    │   │   ├── QueueFullError    more waits to be logged than is allowed to
    │   │   ├── RecordRefusedError     this record alone can't be written; others can
    │   │   ├── DuplicateRequestError  a request with this idempotency key is logged already
    │   │   └── ConflictError     somebody else has changed it meanwhile
    │   └── ModelError            a model can't be loaded, or is not the one that was expected
    ├── OverloadedError           the service has too much to do, or can't log: come back later
    │   └── StartingError         it is not warm yet
    ├── AnswerFailedError         a live query got no answer; the failed trial is logged
    ├── TreatmentStoppedError     an operator or a guardrail has stopped the custom arm, so nobody is shown its answers
    ├── RedactionError            a text could not be freed from personal data: only its hash may be kept
    ├── RerankError               a reranker has no usable scores for a query; counted
    ├── CallError                 one call to an LLM failed for good; its `kind` is counted
    │   └── RetrieverError        a pipeline of somebody else's raised, took too long or returned no hits for a query
    ├── StoppedError              the run was stopped on purpose, nothing is lost, and it can be resumed
    └── NotEnoughDataError        a statistic has no value for these data (never a stand-in number)

A foreign error is translated once, where the foreign code is called.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

_FIRST_LINES = 5
"""Of a fault that many lines of a file have, so many are named."""


class RagtrialError(Exception):
    """Something that the user can mend; the message says what, where and how."""


class InputError(RagtrialError):
    """A file, a field or an option is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault found in what the user gave.

    Attributes:
        message: What was found, what was expected and what to do, in one sentence.
        path: The file, or None where the input was no file.
        line: 1-based line in that file, or None.
        field: The field, column or dotted key, or None.
    """

    message: str
    path: str | None = None
    line: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.path, self.line) if part is not None)
        if self.field is not None:
            where = f"{where}: {self.field}" if where else self.field
        return f"{where}: {self.message}" if where else self.message


class ValidationError(InputError):
    """All problems found in one input, so that they are mended in one go.

    Args:
        problems: At least one problem, in the order of the input.
        shown: How many lines the message has; the rest is counted.
    """

    def __init__(self, problems: Sequence[Problem], *, shown: int = 20) -> None:
        self.problems = tuple(problems)
        lines = grouped(self.problems)
        if len(lines) > shown:
            lines[shown:] = [f"... and {len(lines) - shown} more"]
        super().__init__("\n".join(lines))


def grouped(problems: Sequence[Problem]) -> list[str]:
    """Every fault in a line, in the order of their first one: what is the same on many lines of a file is said once, with its lines."""
    alike: dict[object, list[Problem]] = {}
    for place, problem in enumerate(problems):
        key = place if problem.line is None else (problem.path, problem.field, problem.message)
        alike.setdefault(key, []).append(problem)
    return [_in_one(same) for same in alike.values()]


def _in_one(same: Sequence[Problem]) -> str:
    if len(same) == 1:
        return str(same[0])
    first = ", ".join(str(problem.line) for problem in same[:_FIRST_LINES])
    more = f" and {len(same) - _FIRST_LINES} more" if len(same) > _FIRST_LINES else ""
    return f"{replace(same[0], line=None)} ({len(same)} times, on lines {first}{more})"


class NoPairError(InputError):
    """The sources that were asked for give no training pair, or none that may be trained on."""


class UnknownTrialError(InputError):
    """There is no such trial in the experiment, or nobody saw its answer."""


class UnknownSourceError(InputError):
    """The answer of the trial was not made from this passage."""


class UnknownComparisonError(InputError):
    """There is no such comparison, or another caller was shown it."""


class SetupError(RagtrialError):
    """The machine, a service or a folder is not ready."""


class BusyError(SetupError):
    """Another process is at work on the same thing."""


class MissingExtraError(SetupError):
    """An optional package is needed and not installed.

    Args:
        package: The import that failed.
        extra: The extra of ragtrial that brings it.
        purpose: What it is needed for.
    """

    def __init__(self, *, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package!r}, which is not installed: pip install 'ragtrial[{extra}]'")


class StoreError(SetupError):
    """Milvus or the SQL database refused, is missing, or holds something else than expected."""


class MissingCollectionError(StoreError):
    """There is no collection of that name; whoever follows an alias asks again what it means."""


class QueueFullError(StoreError):
    """More waits to be logged than is allowed to: nothing of this was taken."""


class RecordRefusedError(StoreError):
    """A record can't be written, and the database works; the message never holds what was in it."""


class DuplicateRequestError(StoreError):
    """A request with this idempotency key is logged already: nothing of this one was written."""


class ConflictError(StoreError):
    """What was to be changed is not what it was any more: read it again."""


class ModelError(SetupError):
    """A model can't be loaded, or is not the model that was expected."""


class OverloadedError(RagtrialError):
    """The service has too much to do, or can't write its log; nothing was done.

    Args:
        message: What is in the way.
        retry_after_s: When it is worth asking again, in seconds from now.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StartingError(OverloadedError):
    """The service is not warm yet."""


class AnswerFailedError(RagtrialError):
    """A live query got no answer; the trial is logged with its failure.

    Args:
        trial_id: The failed trial.
        failure: Stage and kind of the failure, for people.
    """

    def __init__(self, trial_id: str, failure: str) -> None:
        super().__init__(f"trial {trial_id!r} failed: {failure}")
        self.trial_id = trial_id
        self.failure = failure


class TreatmentStoppedError(RagtrialError):
    """The custom arm is stopped, and everyone gets the baseline: there is nothing to compare."""


class RedactionError(RagtrialError):
    """A text could not be freed from personal data: only its hash may be kept. The message never holds the text."""


class RerankError(RagtrialError):
    """A reranker failed, or returned scores that are no scores: the queries that it was asked about have no ranking, and the run goes on."""


class CallError(RagtrialError):
    """One call to an LLM failed for good: the item that needed it has no result, and the run goes on.

    Args:
        kind: The class of the failure, for counting: `rate_limit`, `timeout`, `connection`, `server`, `malformed`, `refused`,
            `truncated` or `bad_request`.
        message: What was said.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class RetrieverError(CallError):
    """A pipeline of somebody else's gave no hits for a query: `timeout`, `malformed`, or the class of what it raised; the run goes on."""


class StoppedError(RagtrialError):
    """The run stopped before its end (spending cap, time limit, dead endpoint); what was paid for is kept, and it can be resumed."""


class NotEnoughDataError(RagtrialError):
    """A statistic has no value for these data; the message is the reason."""
