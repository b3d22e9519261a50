"""The split for other programs, as an OpenFeature provider.

It says which arm a unit gets, and nothing else: an exposure is what the program that asked has logged (docs/splitting.md).
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Never

from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import Assignment, AssignmentReason, TrafficState
from ragtrial.errors import InputError, MissingExtraError, RagtrialError
from ragtrial.splitting import Split

try:
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.exception import (
        ErrorCode,
        FlagNotFoundError,
        GeneralError,
        InvalidContextError,
        OpenFeatureError,
        TypeMismatchError,
    )
    from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
    from openfeature.hook import Hook, HookContext, HookHints
    from openfeature.provider import AbstractProvider, Metadata
except ImportError as error:
    raise MissingExtraError(package="openfeature-sdk", extra="openfeature", purpose="the OpenFeature provider") from error

MAX_AGE_S = 1.0
"""An operator's change, also a stop, is seen after this many seconds at the latest."""

_REASONS: Mapping[AssignmentReason, Reason] = {
    "split": Reason.SPLIT,
    "override": Reason.TARGETING_MATCH,
    "denied": Reason.TARGETING_MATCH,
    "stopped": Reason.DISABLED,
    "holdout": Reason.DEFAULT,
    "outside": Reason.DEFAULT,
    "no unit": Reason.DEFAULT,
}

State = Callable[[Experiment], TrafficState]


class RagtrialProvider(AbstractProvider):
    """Flags named as experiments: a string flag is the arm's name, a boolean one whether it is the treatment, an object all of it.

    Args:
        experiments: With a `live` section each.
        state: Gives the current state of an experiment's traffic, e.g. from SQL; asked once a second at most, in the thread of the
            evaluation that finds it too old, while the others wait. Where it raises, evaluations fail for a second.
        clock: Seconds, never going back.

    A failed evaluation gives units of both arms the default that the caller named, and nothing is raised: watch `errors`.

    Raises:
        InputError: Two experiments of one name, one without a `live` section, or one that can't be split.
    """

    def __init__(self, experiments: Sequence[Experiment], *, state: State, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        names = [experiment.name for experiment in experiments]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"there are two experiments called {twice[0]!r}: flags need names of their own")
        self._splits = {experiment.name: Split.of(experiment) for experiment in experiments}
        self._states = {experiment.name: _CachedState(experiment, state, clock) for experiment in experiments}
        self._counting = _CountErrors()

    @property
    def errors(self) -> Mapping[str, int]:
        """Failed evaluations by error code of OpenFeature."""
        return self._counting.snapshot()

    def get_metadata(self) -> Metadata:
        """The provider's name."""
        return Metadata(name="ragtrial")

    def get_provider_hooks(self) -> list[Hook]:
        """The hook that counts errors, also those that the SDK itself finds."""
        return [self._counting]

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """The name of the arm.

        Raises:
            OpenFeatureError: No such experiment, a targeting key that is no text, or the state can't be read.
        """
        del default_value
        assignment = self._assign(flag_key, evaluation_context)
        return _resolved(assignment.arm, flag_key, assignment)

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Whether the arm is the treatment.

        Raises:
            OpenFeatureError: As for strings; TYPE_MISMATCH where answers are interleaved from both arms.
        """
        del default_value
        assignment = self._assign(flag_key, evaluation_context)
        if self._splits[flag_key].mode == "interleaved":
            raise TypeMismatchError(f"experiment {flag_key!r} interleaves both arms, which is neither true nor false: ask for a string")
        return _resolved(assignment.arm == self._splits[flag_key].treatment, flag_key, assignment)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """The whole assignment as a mapping; what has no value is left out.

        Raises:
            OpenFeatureError: As for strings.
        """
        del default_value
        assignment = self._assign(flag_key, evaluation_context)
        named: dict[str, FlagValueType] = {} if assignment.unit is None else {"unit": assignment.unit}
        return _resolved({**named, "arm": assignment.arm, **_metadata(flag_key, assignment)}, flag_key, assignment)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Never: an arm is no number.

        Raises:
            OpenFeatureError: Always.
        """
        del default_value, evaluation_context
        self._no_number(flag_key)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Never: an arm is no number.

        Raises:
            OpenFeatureError: Always.
        """
        del default_value, evaluation_context
        self._no_number(flag_key)

    def _no_number(self, flag_key: str) -> Never:
        self._check(flag_key)
        raise TypeMismatchError(f"experiment {flag_key!r} has arms, not numbers: ask for a string, a boolean or an object")

    def _check(self, flag_key: str) -> None:
        if flag_key not in self._splits:
            raise FlagNotFoundError(f"there is no experiment {flag_key!r}: there are {', '.join(sorted(self._splits)) or 'none'}")

    def _assign(self, flag_key: str, context: EvaluationContext | None) -> Assignment:
        self._check(flag_key)
        unit: object = None if context is None else context.targeting_key
        if unit is not None and not isinstance(unit, str):
            raise InvalidContextError(f"the targeting key is of type {type(unit).__name__}: give the unit as text")
        return self._splits[flag_key].assign(unit, self._states[flag_key].now())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the source of states last said: a state, or why there is none."""

    asked_at: float
    state: TrafficState | None
    error: str


class _CachedState:
    """The state of one experiment, asked for again when it is too old; so is a failure, so that a lost database is not asked each time."""

    def __init__(self, experiment: Experiment, source: State, clock: Callable[[], float]) -> None:
        self._experiment, self._source, self._clock = experiment, source, clock
        self._lock = threading.Lock()
        self._seen: _Seen | None = None

    def now(self) -> TrafficState:
        """The state, at most `MAX_AGE_S` old.

        Raises:
            GeneralError: It could not be read.
        """
        with self._lock:
            asked_at = self._clock()
            if self._seen is None or asked_at - self._seen.asked_at >= MAX_AGE_S:
                self._seen = self._ask(asked_at)
            seen = self._seen
        if seen.state is None:
            raise GeneralError(f"the traffic of experiment {self._experiment.name!r} can't be read: {seen.error}")
        return seen.state

    def _ask(self, asked_at: float) -> _Seen:
        try:
            return _Seen(asked_at=asked_at, state=self._source(self._experiment), error="")
        except RagtrialError as error:
            return _Seen(asked_at=asked_at, state=None, error=str(error))
        except Exception as error:  # noqa: BLE001  the caller's own code: it is counted; its message may hold a password
            return _Seen(asked_at=asked_at, state=None, error=type(error).__name__)


class _CountErrors(Hook):
    """Counts what went wrong by OpenFeature's error code: the SDK itself only returns the default."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def error(self, hook_context: HookContext, exception: Exception, hints: HookHints) -> None:
        del hook_context, hints
        code = exception.error_code if isinstance(exception, OpenFeatureError) else ErrorCode.GENERAL
        with self._lock:
            self._counts[str(code)] += 1

    def snapshot(self) -> Mapping[str, int]:
        with self._lock:
            return dict(self._counts)


def _resolved(value: Any, experiment: str, assignment: Assignment) -> FlagResolutionDetails[Any]:
    return FlagResolutionDetails(
        value=value, variant=assignment.arm, reason=_REASONS[assignment.reason], flag_metadata=_metadata(experiment, assignment)
    )


def _metadata(experiment: str, assignment: Assignment) -> dict[str, bool | int | float | str]:
    known: dict[str, bool | int | float | str] = {
        "experiment": experiment,
        "reason": assignment.reason,
        "counted": assignment.counted,
        "has_unit": assignment.unit is not None,
        "state_version": assignment.version,
    }
    if assignment.bucket is not None:
        known["bucket"] = assignment.bucket
    if assignment.propensity is not None:
        known["propensity"] = assignment.propensity
    return known
