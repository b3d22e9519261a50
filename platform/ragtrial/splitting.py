"""Unit to arm: a pure hash, the same in every process, on every machine and in every language (docs/splitting.md).

The buckets are those that Statsig publishes (https://docs.statsig.com/sdks/how-evaluation-works): SHA-256 of salt, dot and unit, its
first eight bytes as a big-endian integer, modulo 10,000.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import N_BUCKETS, Assignment, AssignmentReason, LayerSpec, LiveSpec, Mode, TrafficState
from ragtrial.errors import InputError


def bucket_of(salt: str, unit: str) -> int:
    """The bucket of a unit, from 0 to 9999; uniform over units, and independent between salts.

    Args:
        salt: Of the experiment, the layer or the holdout.
        unit: Any text; it is hashed as it is, so that two spellings are two units.
    """
    return int.from_bytes(_hash(f"{salt}.{unit}")[:8], "big") % N_BUCKETS


def pseudonym(unit: str) -> str:
    """What the log stores instead of the unit: 32 hexadecimal digits, the same in every experiment.

    Nobody can read the unit from it, but whoever has a list of units can hash them all and compare: it is a pseudonym, not anonymous.
    """
    return _hash(f"ragtrial.unit.{unit}").hex()[:32]


def drawn(salt: str, key: str, share: float) -> bool:
    """Whether `key` is in a random sample of this share: the same answer each time, and a larger share only adds keys.

    Independent of `bucket_of`, even with the same salt and key.

    Args:
        salt: What is drawn for, e.g. `solicit.<experiment>`.
        key: Of what is drawn, e.g. a trial's id.
        share: From 0 (nothing) to 1 (everything).
    """
    return int.from_bytes(_hash(f"ragtrial.drawn.{salt}.{key}")[:8], "big") < share * 2**64


def counts(state: TrafficState) -> tuple[int, int]:
    """How many buckets control and treatment take, of 10,000.

    The share is rounded first, then the treatment's part of it: so neither number falls when the share rises.
    """
    taking_part = _rounded(state.share * N_BUCKETS)
    treatment = _rounded(taking_part * state.treatment)
    return taking_part - treatment, treatment


def initial_state(experiment: Experiment) -> TrafficState:
    """Version 1 of the traffic's state, as planned.

    Raises:
        InputError: The experiment has no `live` section.
    """
    traffic = _live(experiment).traffic
    return TrafficState(version=1, share=traffic.share, treatment=traffic.treatment, reason="as planned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How one experiment splits its traffic; what operators can change comes in with each call.

    Attributes:
        mode: Of the experiment.
        control: Name of the baseline's arm: it is served wherever the experiment does not reach.
        treatment: Name of the custom arm.
        salt: What the split is hashed with.
        layer: The part of the traffic that this experiment has for itself; None: all of it.
        n_held_out: Buckets that belong to the holdout.
        holdout_salt: What the holdout is hashed with.
        allow: Only these units take part; empty: all.
        deny: These units never do.
        overrides: Arm by unit, of testers.
    """

    mode: Mode
    control: str
    treatment: str
    salt: str
    layer: LayerSpec | None
    n_held_out: int
    holdout_salt: str
    allow: frozenset[str]
    deny: frozenset[str]
    overrides: Mapping[str, str]

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """The split of a live experiment.

        Raises:
            InputError: The experiment has no `live` section; or its salt is also that of its holdout or its layer, which would make
                arms differ in who is held out.
        """
        live = _live(experiment)
        salt = live.salt or experiment.name
        n_held_out = _rounded(live.holdout * N_BUCKETS)
        if n_held_out and salt == live.holdout_salt:
            raise InputError(
                f"experiment {experiment.name!r} splits and holds out with the same salt {salt!r}, so the holdout would come out of one arm: "
                "give live.salt or live.holdout_salt another value"
            )
        if live.layer is not None and salt == _layer_salt(live.layer):
            raise InputError(f"experiment {experiment.name!r} has the salt of its layer, {salt!r}: give live.salt another value")
        return cls(
            mode=live.mode,
            control=experiment.control.name,
            treatment=experiment.treatment.name,
            salt=salt,
            layer=live.layer,
            n_held_out=n_held_out,
            holdout_salt=live.holdout_salt,
            allow=frozenset(live.allow),
            deny=frozenset(live.deny),
            overrides=dict(live.overrides),
        )

    def assign(self, unit: str | None, state: TrafficState, *, override: str | None = None) -> Assignment:
        """The arm of a unit, and why: the same for the same unit and state.

        Args:
            unit: As the caller names it; None or empty gets the baseline, and is not counted.
            state: Of the traffic, at this moment.
            override: The arm that a tester asked for; it is served and not counted.

        Raises:
            InputError: `override` names no arm.
        """
        if not unit:
            return Assignment(unit=None, arm=self.control, reason="no unit", version=state.version)
        named = override if override is not None else self.overrides.get(unit)
        if named is not None:
            return self._overridden(unit, named, state)
        bucket = bucket_of(self.salt, unit)
        reason = self._why_not(unit, state)
        if reason is None:
            n_control, n_treatment = counts(state)
            if bucket < n_treatment:
                return self._split(unit, self.treatment, bucket, n_treatment / (n_control + n_treatment), state)
            if bucket >= N_BUCKETS - n_control:
                return self._split(unit, self.control, bucket, n_control / (n_control + n_treatment), state)
            reason = "outside"
        return Assignment(unit=unit, arm=self.control, reason=reason, bucket=bucket, version=state.version)

    def _why_not(self, unit: str, state: TrafficState) -> AssignmentReason | None:
        """Why the unit does not take part, whatever its bucket; None where it may."""
        if state.stopped:
            return "stopped"
        if unit in self.deny or (self.allow and unit not in self.allow):
            return "denied"
        if self.n_held_out and bucket_of(self.holdout_salt, unit) < self.n_held_out:
            return "holdout"
        if self.layer is not None and not self.layer.first <= bucket_of(_layer_salt(self.layer), unit) < self.layer.end:
            return "outside"
        return None

    def _split(self, unit: str, arm: str, bucket: int, propensity: float, state: TrafficState) -> Assignment:
        if self.mode != "split":
            arm, propensity = self.control if self.mode == "shadow" else "interleaved", 1.0
        return Assignment(unit=unit, arm=arm, reason="split", bucket=bucket, propensity=propensity, version=state.version)

    def _overridden(self, unit: str, arm: str, state: TrafficState) -> Assignment:
        if arm not in (self.control, self.treatment):
            raise InputError(f"there is no arm {arm!r}: ask for {self.control!r} or {self.treatment!r}")
        return Assignment(unit=unit, arm=arm, reason="override", bucket=bucket_of(self.salt, unit), version=state.version)


def _hash(text: str) -> bytes:
    try:
        return sha256(text.encode()).digest()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can bring: it becomes U+FFFD, as in browsers, for any text has an arm
        return sha256(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()).digest()


def _rounded(buckets: float) -> int:
    """To the nearest whole bucket, halves up (Python's `round` takes halves to the even number, other languages don't)."""
    return math.floor(buckets + 0.5)


def _layer_salt(layer: LayerSpec) -> str:
    return f"layer.{layer.name}"


def _live(experiment: Experiment) -> LiveSpec:
    if experiment.live is None:
        raise InputError(f"experiment {experiment.name!r} has no 'live' section: say there how its traffic is split")
    return experiment.live
