"""The calls to LLMs that an experiment makes: opened, and estimated before they are paid for."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from ragtrial.build import OPENAI, UNKNOWN_GENERATOR, Surroundings, build_gate, build_prices, endpoint_of, prompt_of, sampling_of
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.generation import GenerationSpec, JudgeSpec
from ragtrial.domain.metric import metric_named
from ragtrial.domain.retriever import OWN_ANSWERS
from ragtrial.errors import InputError
from ragtrial.formats.experiment import resolve_path
from ragtrial.llm.cache import CallCache, Entry
from ragtrial.scoring.choosing import Judging
from ragtrial.suite.preparing import Prepared

if TYPE_CHECKING:
    from ragtrial.llm.gate import Gate

CHARS_PER_TOKEN = 4.0
"""Of English text; other languages take more tokens."""
SECONDS_PER_CALL = 1.5
"""Assumed, because the endpoint is not asked."""
_ANSWER_TOKENS, _JUDGMENT_TOKENS = 80, 160
_INSTRUCTION_TOKENS, _RAGAS_INSTRUCTION_TOKENS = 450, 850
"""Of our prompts, and of RAGAS' with their examples, both measured in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEstimate:
    """Calls of one kind.

    Attributes:
        purpose: `answer`, or the metric's name.
        model: Who is asked.
        n_calls: At most: what both arms share is asked once, and what is in the cache not at all.
        prompt_tokens: Of all of them.
        completion_tokens: Of all of them, as such answers usually are.
        cost_usd: None where the model has no price.
    """

    purpose: str
    model: str
    n_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the calls of an evaluation may come to.

    Attributes:
        parts: By purpose.
        minutes: At the experiment's concurrency and an assumed time per call.
        cap_usd: The spending cap; None is no cap.
    """

    parts: tuple[CallEstimate, ...]
    minutes: float
    cap_usd: float | None = None

    @property
    def n_calls(self) -> int:
        """All calls."""
        return sum(part.n_calls for part in self.parts)

    @property
    def cost_usd(self) -> float | None:
        """Of all calls; None where one of the models has no price."""
        costs = [part.cost_usd for part in self.parts]
        return None if any(cost is None for cost in costs) else sum(cost or 0.0 for cost in costs)

    def lines(self) -> tuple[str, ...]:
        """For people."""
        shown = [
            f"  {part.purpose:<22} {part.n_calls:>9,} calls to {part.model}, {part.prompt_tokens:,} + {part.completion_tokens:,} tokens, "
            f"{_money(part.cost_usd)}"
            for part in self.parts
        ]
        total = f"LLM calls: at most {self.n_calls:,}, about {_money(self.cost_usd)}, about {self.minutes:,.0f} min"
        beyond = self.cap_usd is not None and self.cost_usd is not None and self.cost_usd > self.cap_usd
        cap = (f"  more than llm.max_cost_usd ({self.cap_usd:g} USD): the run may stop there, to be resumed",) if beyond else ()
        return (f"{total}; less where both arms retrieve the same passages, nothing for what is in the cache", *shown, *cap)


def _money(cost: float | None) -> str:
    return "cost unknown (no price)" if cost is None else f"{cost:,.2f} USD"


@contextmanager
def open_gate(prepared: Prepared, *, say: Callable[[str], None], settled: Callable[[int], None] | None = None) -> "Iterator[Gate]":
    """The experiment's gate over its cache of calls; closed at the end.

    Args:
        prepared: The experiment.
        say: Told what slows the calls down.
        settled: Told of each call that has its outcome; from another thread.

    Raises:
        InputError: The price table can't be read.
        StoreError: The cache can't be opened.
    """
    experiment, folder = prepared.experiment, prepared.file.folder
    with ExitStack() as stack:
        cache = stack.enter_context(CallCache(resolve_path(folder, experiment.stores.calls)))
        yield stack.enter_context(build_gate(experiment.llm, prepared.around, cache=cache, notify=say, settled=settled))


def estimate(prepared: Prepared) -> Estimate:
    """What the calls may come to, from the lengths of the texts; nothing is asked.

    Raises:
        InputError: The price table can't be read.
    """
    experiment = prepared.experiment
    prices = build_prices(experiment.llm, prepared.around)
    n = len(prepared.gold.queries) * experiment.repetitions
    passage = float(np.mean([len(each.content) for each in prepared.corpus.passages])) / CHARS_PER_TOKEN
    query = float(np.mean([len(each.text) for each in prepared.gold.queries])) / CHARS_PER_TOKEN

    def part(
        purpose: str,
        spec: GenerationSpec | JudgeSpec,
        n_calls: int,
        material: float,
        completion: int,
        instructions: int = _INSTRUCTION_TOKENS,
    ) -> CallEstimate:
        price = prices.price(spec.model or "")
        prompt_tokens, completion_tokens = int(n_calls * (material + query + instructions)), n_calls * completion
        cost = None if price is None else price.cost(prompt_tokens, completion_tokens)
        return CallEstimate(
            purpose=purpose,
            model=spec.model or "",
            n_calls=n_calls,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=cost,
        )

    parts = []
    for line, spec in _answering(prepared):
        read = min(spec.context_passages, experiment.retrieval.top_k)
        parts.append(part(f"answer ({line})", spec, n, read * passage, _ANSWER_TOKENS))
    judge = experiment.metrics.judge
    if judge is not None:
        for name, calls, material, completion, instructions in _judgments(experiment, n, passage):
            parts.append(part(name, judge, calls, material, completion, instructions))  # six names read better in a loop
    total = sum(each.n_calls for each in parts)
    return Estimate(
        parts=tuple(parts), minutes=total * SECONDS_PER_CALL / experiment.llm.concurrency / 60, cap_usd=experiment.llm.max_cost_usd
    )


def _judgments(experiment: Experiment, n: int, passage: float) -> list[tuple[str, int, float, int, int]]:
    """Judged metrics, each with its calls, and for one call the tokens of material, of the answer, and of instructions.

    Args:
        experiment: The plan.
        n: Trials of an arm.
        passage: Mean tokens of a passage.
    """
    context = max(experiment.generation_of(arm).context_passages for arm in experiment.arms)
    cutoffs = {name: metric_named(name).cutoff or 0 for name in experiment.judged}
    deepest = max(cutoffs, key=cutoffs.__getitem__, default="")  # the passages of the others are among its
    found = []
    for name in experiment.judged:
        if cutoffs[name] and name != deepest:
            continue
        repetitions = 1 if cutoffs[name] else experiment.metrics.judgments_of(name)
        calls = n * len(experiment.arms) * repetitions * calls_per_judgment(name, context)
        ours = metric_named(name).judge == "judge"
        texts = {"judge_correctness": 2.0 * _ANSWER_TOKENS, "judge_preference": 3.0 * _ANSWER_TOKENS}  # answers and references alone
        material = passage if cutoffs[name] else texts.get(name, context * passage + _ANSWER_TOKENS)
        if calls:
            found.append((name, calls, material, _JUDGMENT_TOKENS, _INSTRUCTION_TOKENS if ours else _RAGAS_INSTRUCTION_TOKENS))
    return found


def check_llm(prepared: Prepared, *, keys: bool, judged: bool | None = None) -> None:
    """What would stop the calls to LLMs whatever the servers do; found before models are loaded.

    Args:
        prepared: The experiment.
        keys: Also whether the keys are there; not needed to plan.
        judged: Whether a judge is asked; None: as the evaluation's metrics say.

    Raises:
        InputError: A generator or its prompt does not exist, prices can't be read, a capped model has none, or a key is missing.
    """
    experiment, around = prepared.experiment, prepared.around
    for own in {experiment.generation_of(arm) for arm in experiment.arms}:
        _check_generation(own, around)
    if not experiment.asks_llm and not judged:
        return
    prices = build_prices(experiment.llm, around)
    asked: list[tuple[str, GenerationSpec | JudgeSpec]] = [("generation", spec) for _line, spec in _answering(prepared)]
    if (bool(experiment.judged) if judged is None else judged) and experiment.metrics.judge is not None:
        asked.append(("metrics.judge", experiment.metrics.judge))
    for where, spec in asked:
        if experiment.llm.max_cost_usd is not None and prices.price(spec.model or "") is None:
            raise InputError(
                f"llm.max_cost_usd is set, but {spec.model!r} ({where}) has no price: enter it in a price table (llm.prices), or leave the "
                "cap out"
            )
        if keys:
            _check_key(spec, around, where)


def _check_generation(spec: GenerationSpec, around: Surroundings) -> None:
    if spec.provider == "openai-compatible":
        prompt_of(spec, around)
    elif spec.provider not in ("none", "extractive", OWN_ANSWERS) and ":" not in spec.provider:
        raise InputError(UNKNOWN_GENERATOR.format(spec.provider))


def _check_key(spec: GenerationSpec | JudgeSpec, around: Surroundings, where: str) -> None:
    """OpenAI's own endpoint needs a key; a server of one's own may need none."""
    if spec.base_url is None and around.settings.secret(spec.api_key_env) is None:
        raise InputError(
            f"{where} asks {OPENAI}, but the environment variable {spec.api_key_env} is not set: set it to the key, name another one in "
            f"{where}.api_key_env, or give the {where}.base_url of a server of your own"
        )


def judging_of(experiment: Experiment, gate: "Gate", around: Surroundings) -> Judging | None:
    """What the experiment's judged metrics need; None where no judge is named."""
    spec = experiment.metrics.judge
    if spec is None:
        return None
    return Judging(
        gate=gate,
        endpoint=endpoint_of(spec, around),
        sampling=sampling_of(spec),
        repetitions={name: experiment.metrics.judgments_of(name) for name in experiment.metrics.names},
        context_passages=experiment.generation.context_passages,
        context_by_arm={arm.name: experiment.generation_of(arm).context_passages for arm in experiment.arms},
        control=experiment.control.name,
        treatment=experiment.treatment.name,
    )


def _answering(prepared: Prepared) -> list[tuple[str, GenerationSpec]]:
    """Lines whose answers an LLM makes, with how."""
    experiment = prepared.experiment
    specs: list[tuple[str, GenerationSpec]] = [(arm.name, experiment.generation_of(arm)) for arm in experiment.arms]
    if experiment.references_answer:
        specs += [(name, experiment.generation_of(experiment.control)) for name in experiment.reference_lines]
    return [(name, spec) for name, spec in specs if spec.provider == "openai-compatible"]


def calls_per_judgment(metric: str, context_passages: int) -> int:
    """Calls that one judgment of one answer, or of one ranking, takes at most."""
    if metric_named(metric).cutoff is not None:
        return metric_named(metric).cutoff or 0
    if metric_named(metric).judge == "judge":
        from ragtrial.scoring.judge import calls_per_sample

        return calls_per_sample(metric)
    from ragtrial.scoring.ragas import calls_per_sample as calls_of_ragas

    return calls_of_ragas(metric, context_passages)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCalls:
    """Kept calls of one purpose to one model.

    Attributes:
        purpose: `answer`, or a metric's name.
        model: Who was asked.
        base_url: Where.
        n_calls: How many.
        prompt_tokens: Of those that tell.
        completion_tokens: Of those that tell.
        cost_usd: Of those that have a price.
        unpriced: How many have none.
        n_bytes: On disk.
        oldest: ISO 8601, UTC.
        newest: ISO 8601, UTC.
    """

    purpose: str
    model: str
    base_url: str
    n_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unpriced: int
    n_bytes: int
    oldest: str
    newest: str

    def line(self) -> str:
        """For people."""
        unpriced = f" ({self.unpriced:,} without a price)" if self.unpriced else ""
        return (
            f"{self.purpose:<22} {self.n_calls:>8,} calls to {self.model} at {self.base_url}: {self.prompt_tokens:,} + "
            f"{self.completion_tokens:,} tokens, {self.cost_usd:,.4f} USD{unpriced}, {self.n_bytes / 1e6:,.1f} MB, "
            f"{self.oldest[:10]} to {self.newest[:10]}"
        )


def summarise(cache: CallCache) -> tuple[KeptCalls, ...]:
    """What is kept, by purpose, model and address."""
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in cache.entries():
        groups.setdefault((entry.purpose, entry.request["model"], entry.request["base_url"]), []).append(entry)
    return tuple(_kept(*key, entries) for key, entries in sorted(groups.items()))


def _kept(purpose: str, model: str, base_url: str, entries: Sequence[Entry]) -> KeptCalls:
    completions = [entry.completion for entry in entries]
    times = [datetime.fromtimestamp(entry.stored_at, UTC).isoformat() for entry in entries]
    return KeptCalls(
        purpose=purpose,
        model=model,
        base_url=base_url,
        n_calls=len(entries),
        prompt_tokens=sum(completion.prompt_tokens or 0 for completion in completions),
        completion_tokens=sum(completion.completion_tokens or 0 for completion in completions),
        cost_usd=sum(completion.cost_usd or 0.0 for completion in completions),
        unpriced=sum(completion.cost_usd is None for completion in completions),
        n_bytes=sum(entry.n_bytes for entry in entries),
        oldest=min(times),
        newest=max(times),
    )


def prune(cache: CallCache, *, purpose: str | None, model: str | None, older_than_days: float | None, really: bool) -> tuple[int, float]:
    """Forget calls; how many there are, and what they cost as far as that is known.

    Args:
        cache: To prune.
        purpose: Only these.
        model: Only calls to it.
        older_than_days: Only older ones.
        really: Otherwise they are only counted.
    """
    before = None if older_than_days is None else time.time() - older_than_days * 86_400
    chosen = [
        entry
        for entry in cache.entries()
        if (purpose is None or entry.purpose == purpose)
        and (model is None or entry.request["model"] == model)
        and (before is None or entry.stored_at < before)
    ]
    if really:
        cache.remove([entry.completion.key for entry in chosen])
    return len(chosen), sum(entry.completion.cost_usd or 0.0 for entry in chosen)
