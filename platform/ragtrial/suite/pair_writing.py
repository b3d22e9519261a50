"""Synthetic queries as a command asks for them: who writes and who judges, what it may cost, and the calls."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragtrial.build import OPENAI, build_prices, endpoint_of
from ragtrial.contracts import Progress
from ragtrial.domain.corpus import Passage
from ragtrial.domain.generation import GenerationSpec, JudgeSpec
from ragtrial.errors import InputError
from ragtrial.finetuning.gathering import Gathered
from ragtrial.finetuning.synthetic import Asked, Recipe, checking_prompt, synthetic_pairs, writing_prompt
from ragtrial.llm.chat import Sampling
from ragtrial.suite.calls import CHARS_PER_TOKEN, SECONDS_PER_CALL, CallEstimate, open_gate
from ragtrial.suite.gold_leaks import Gold
from ragtrial.suite.pair_material import Material, baseline
from ragtrial.suite.preparing import Prepared

SHORT = "passages of fewer than 20 words"
GOLD = "passages that answer gold queries"
NOT_SAMPLED = "passages that --limit leaves out"

_LEAST_WORDS = 20
_QUERY_TOKENS, _CHECK_TOKENS = 20, 60


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How queries are written.

    Attributes:
        model: The server's name of the model that writes and judges; None: those of the experiment file.
        base_url: Of that model; None: OpenAI's.
        per_passage: Most queries of a passage.
        round_trip: The baseline has to find the passage among so many; 0: no round trip.
        judge: Whether queries are judged.
        limit: A random sample of so many passages; None: all.
    """

    model: str | None = None
    base_url: str | None = None
    per_passage: int = 3
    round_trip: int = 20
    judge: bool = True
    limit: int | None = None


def write(
    prepared: Prepared, material: Material, gold: Gold, writing: Writing, *, seed: int, say: Callable[[str], None], progress: Progress
) -> Gathered:
    """Queries by an LLM for the passages that are not for testing.

    Raises:
        InputError: No LLM is named, a key is missing, or there is a cap and a model without a price.
        StoppedError: The calls had to stop; the same command goes on.
    """
    chosen, left_out = _chosen(material, gold, writing, seed)
    recipe = _recipe(prepared, writing, keys=True)
    if not chosen:
        return Gathered(pairs=(), left_out=left_out)
    with baseline(prepared) as embedder, open_gate(prepared, say=say) as gate:
        made = synthetic_pairs(chosen, material.corpus.passages, recipe, gate=gate, embedder=embedder, progress=progress)
        facts = {**made.facts, "spending": gate.spending.summary()}
    groups = {document.document_id: document.group for document in material.documents if document.group is not None}
    pairs = tuple(dataclasses.replace(pair, source=groups.get(pair.document_id, pair.source)) for pair in made.pairs)
    return Gathered(pairs=pairs, left_out={**left_out, **made.left_out}, facts=facts)


def estimate_writing(prepared: Prepared, material: Material, gold: Gold, writing: Writing, *, seed: int) -> tuple[str, ...]:
    """What the calls may come to, in lines for people; nothing is asked.

    Raises:
        InputError: As `write`, but for the key.
    """
    chosen, left_out = _chosen(material, gold, writing, seed)
    recipe = _recipe(prepared, writing, keys=False)
    passage = sum(len(each.content) for each in chosen) / max(1, len(chosen)) / CHARS_PER_TOKEN
    prices = build_prices(prepared.experiment.llm, prepared.around)
    parts = []
    kinds = [("write queries", recipe.writer, len(chosen), writing_prompt(), _QUERY_TOKENS * writing.per_passage)]
    if recipe.judge is not None:
        kinds.append(("judge queries", recipe.judge, len(chosen) * writing.per_passage, checking_prompt(), _CHECK_TOKENS))
    for purpose, asked, n_calls, prompt, completion in kinds:
        instructions = (len(prompt.system) + len(prompt.template)) / CHARS_PER_TOKEN
        prompt_tokens, price = int(n_calls * (instructions + passage)), prices.price(asked.endpoint.model)
        cost = None if price is None else price.cost(prompt_tokens, n_calls * completion)
        parts.append(
            CallEstimate(
                purpose=purpose,
                model=asked.endpoint.model,
                n_calls=n_calls,
                prompt_tokens=prompt_tokens,
                completion_tokens=n_calls * completion,
                cost_usd=cost,
            )
        )
    return _lines(prepared, parts, left_out)


def _lines(prepared: Prepared, parts: Sequence[CallEstimate], left_out: dict[str, int]) -> tuple[str, ...]:
    total = sum(part.n_calls for part in parts)
    minutes = total * SECONDS_PER_CALL / prepared.experiment.llm.concurrency / 60
    known = [part.cost_usd for part in parts if part.cost_usd is not None]
    money = f"about {sum(known):,.2f} USD" if len(known) == len(parts) else "cost unknown (no price)"
    cap = prepared.experiment.llm.max_cost_usd
    lines = [f"LLM calls: at most {total:,}, {money}, about {minutes:,.0f} min; nothing for what is in the cache"]
    lines += [
        f"  {part.purpose:<14} {part.n_calls:>8,} calls to {part.model}, {part.prompt_tokens:,} + {part.completion_tokens:,} tokens"
        for part in parts
    ]
    if cap is not None and len(known) == len(parts) and sum(known) > cap:
        lines.append(f"  more than llm.max_cost_usd ({cap:g} USD): the run may stop there; the same command goes on")
    return (*lines, *(f"  left out: {n:,} {reason}" for reason, n in left_out.items()))


def _chosen(material: Material, gold: Gold, writing: Writing, seed: int) -> tuple[tuple[Passage, ...], dict[str, int]]:
    """The passages to write for, in order, and how many are left out; no call is paid for what would be refused afterwards."""
    long = tuple(each for each in material.passages if len(each.text.split()) >= _LEAST_WORDS)
    free = gold.untouched(long)
    chosen = free
    if writing.limit is not None and writing.limit < len(free):
        places = random.Random(seed).sample(range(len(free)), writing.limit)  # noqa: S311 - a sample, no secret
        chosen = tuple(free[place] for place in sorted(places))
    counts = {SHORT: len(material.passages) - len(long), GOLD: len(long) - len(free), NOT_SAMPLED: len(free) - len(chosen)}
    return chosen, {reason: n for reason, n in counts.items() if n}


def _recipe(prepared: Prepared, writing: Writing, *, keys: bool) -> Recipe:
    writer, judge = _specs(prepared, writing)
    for spec in (writer, judge) if writing.judge else (writer,):
        _check(prepared, spec, keys=keys)
    asked = [Asked(endpoint=endpoint_of(spec, prepared.around), sampling=_sampling(spec)) for spec in (writer, judge)]
    try:
        return Recipe(
            writer=asked[0], judge=asked[1] if writing.judge else None, per_passage=writing.per_passage, round_trip=writing.round_trip
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def _specs(prepared: Prepared, writing: Writing) -> tuple[GenerationSpec | JudgeSpec, GenerationSpec | JudgeSpec]:
    """Who writes and who judges; the writer judges where nobody else is named."""
    experiment = prepared.experiment
    if writing.model is not None:
        try:
            own = JudgeSpec(model=writing.model, base_url=writing.base_url, temperature=0.0)
        except ValueError as error:
            raise InputError(f"--model, --base-url: {error}") from error
        return own, own
    generation = experiment.generation if experiment.generation.provider == "openai-compatible" else None
    judge = experiment.metrics.judge
    writer = generation or judge
    if writer is None:
        raise InputError(
            f"{prepared.file.path}: synthetic queries need an LLM: give generation.provider openai-compatible or metrics.judge there, or "
            "--model (with --base-url for a server of your own)"
        )
    return writer, judge or writer


def _check(prepared: Prepared, spec: GenerationSpec | JudgeSpec, *, keys: bool) -> None:
    llm = prepared.experiment.llm
    if llm.max_cost_usd is not None and build_prices(llm, prepared.around).price(spec.model or "") is None:
        raise InputError(f"llm.max_cost_usd is set, but {spec.model!r} has no price: enter it in a price table (llm.prices)")
    if keys and spec.base_url is None and prepared.around.settings.secret(spec.api_key_env) is None:
        raise InputError(
            f"{OPENAI} is asked, but the environment variable {spec.api_key_env} is not set: set it to the key, or give the base_url of a "
            "server of your own"
        )


def _sampling(spec: GenerationSpec | JudgeSpec) -> Sampling:
    return Sampling(temperature=spec.temperature, seed=spec.seed, max_tokens=max(spec.max_tokens, 1024))
