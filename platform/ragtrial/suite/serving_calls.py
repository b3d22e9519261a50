"""Calls to LLMs while users wait: one purse, gates that are opened anew, and the generators behind them."""

import dataclasses
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ragtrial.build import build_gate, build_generator
from ragtrial.contracts import Generator, ManyAtOnce
from ragtrial.errors import SetupError, StoppedError
from ragtrial.serving.renewing import Renewed, RenewedGenerator
from ragtrial.suite.preparing import Prepared

if TYPE_CHECKING:
    from ragtrial.llm.gate import Gate

logger = logging.getLogger("ragtrial.serving")

_ATTEMPTS, _LONGEST_WAIT_S, _PATIENCE_S = 3, 10.0, 20.0
"""A user waits for the answer: fewer tries and shorter waits than an evaluation has."""


def serving_generators(prepared: Prepared, stack: ExitStack) -> Mapping[str, Generator | None]:
    """Each arm's generator; one for both where they generate alike. Nothing that users say is kept in the cache of calls."""
    experiment = prepared.experiment
    purse = Purse(experiment.llm.max_cost_usd)
    by_spec: dict[Any, Generator | None] = {}
    for spec in {experiment.generation_of(arm) for arm in experiment.arms}:
        if spec.provider != "openai-compatible":
            by_spec[spec] = build_generator(spec, prepared.corpus, prepared.around)
            continue

        def make(inner: ExitStack, spec: Any = spec) -> ManyAtOnce:
            gate = serving_gate(prepared, inner, purse)
            made = build_generator(spec, prepared.corpus, prepared.around, gate=gate)
            if not isinstance(made, ManyAtOnce):
                raise SetupError(f"generation.provider {spec.provider!r} can't answer side by side")
            return made

        renewed = Renewed(make)
        stack.callback(renewed.close)
        by_spec[spec] = RenewedGenerator(renewed)
    return {arm.name: by_spec[experiment.generation_of(arm)] for arm in experiment.arms}


class Purse:
    """What is left of `llm.max_cost_usd`, over all gates that were opened one after the other."""

    def __init__(self, cap_usd: float | None) -> None:
        self._cap_usd = cap_usd
        self._gates: list[Gate] = []

    def left(self) -> float | None:
        """What may still be spent, in USD; None: no limit.

        Raises:
            StoppedError: Nothing.
        """
        if self._cap_usd is None:
            return None
        left = self._cap_usd - sum(gate.spending.cost_usd for gate in self._gates)
        if left <= 0:
            raise StoppedError(f"the spending cap of {self._cap_usd:g} USD is reached: raise llm.max_cost_usd, and start the service anew")
        return left

    def watch(self, gate: "Gate") -> None:
        """Count what this gate spends."""
        self._gates.append(gate)


def serving_gate(prepared: Prepared, stack: ExitStack, purse: Purse) -> "Gate":
    """A gate for calls that users wait for, with what is left in the purse; closed with the stack.

    Raises:
        StoppedError: Nothing is left.
    """
    llm = prepared.experiment.llm
    limits = dataclasses.replace(
        llm,
        attempts=min(llm.attempts, _ATTEMPTS),
        max_wait_s=min(llm.max_wait_s, _LONGEST_WAIT_S),
        patience_s=min(llm.patience_s, _PATIENCE_S),
        run_timeout_s=None,
        max_cost_usd=purse.left(),
    )
    gate = stack.enter_context(build_gate(limits, prepared.around, cache=None, notify=logger.warning))
    purse.watch(gate)
    return gate
