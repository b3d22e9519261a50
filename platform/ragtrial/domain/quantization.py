"""Variants of one model and index: what each loses and what it saves against the reference, and which one is picked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CostKind = Literal["all", "query", "passage", "bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to run and store a model.

    Attributes:
        backend: What runs it.
        precision: In which numbers.
        dimensions: Vectors are truncated to so many; None: whole.
        vectors: How they are stored.
    """

    backend: Literal["torch", "onnx", "openvino"] = "torch"
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    dimensions: int | None = None
    vectors: Literal["fp32", "int8", "binary"] = "fp32"

    @property
    def name(self) -> str:
        """`torch-fp32`, `openvino-bf16+dim128+vectors-int8`."""
        parts = [f"{self.backend}-{self.precision}"]
        parts += [] if self.dimensions is None else [f"dim{self.dimensions}"]
        parts += [] if self.vectors == "fp32" else [f"vectors-{self.vectors}"]
        return "+".join(parts)


REFERENCE = Variant()
"""What every variant is compared with: float32 throughout, all dimensions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a variant takes.

    Attributes:
        query_ratio: Median seconds of one query alone, embedded and searched, over the reference's in the same run.
        passage_ratio: Seconds of embedding passages, likewise.
        query_p50_ms: The median itself, on this machine.
        passages_per_s: On this machine.
        query_cpu_s: CPU seconds of a query.
        passage_cpu_s: CPU seconds of a passage.
        vector_bytes: One stored vector.
    """

    query_ratio: float
    passage_ratio: float
    query_p50_ms: float
    passages_per_s: float
    query_cpu_s: float
    passage_cpu_s: float
    vector_bytes: int


DIFFERING = 0.05
"""Share of queries that may still differ where a variant that scored the same on all of them counts as within any margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResult:
    """A variant measured, or why it was not.

    Attributes:
        variant: Which.
        mean: Of the metric over the scored queries; None where nothing was measured.
        estimate: Mean difference from the reference on the same queries; None where there is no effect to give.
        low: Lower end of the simultaneous interval of the difference; None without one.
        high: Upper end.
        plain_low: Lower end of the interval for this variant alone.
        plain_high: Upper end.
        n_scored: Queries with a value in both.
        n_queries: Queries asked.
        excluded: Queries left out, by reason.
        costs: What it takes; None where it was not measured.
        reason: Why there is no interval, or no measurement.
        identical: Every scored query scores exactly as with the reference.
        differing: Where that is so: the share of queries that may still differ, at most (see `stats.binary.most_unseen`); None elsewhere.
    """

    variant: Variant
    mean: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    plain_low: float | None = None
    plain_high: float | None = None
    n_scored: int = 0
    n_queries: int = 0
    excluded: Mapping[str, int]
    costs: Costs | None = None
    reason: str | None = None
    identical: bool = False
    differing: float | None = None

    def within(self, max_loss: float) -> bool:
        """Whether a loss of `max_loss` or more is excluded by the interval; or no score differs, on queries enough.

        Without a difference there is no spread, so no interval of the mean. What such a sample shows is how few queries can differ:
        at most `DIFFERING` of them must be left (Wilks 1941's 95 %: 59 queries where one variant is tried).
        """
        if self.costs is None:
            return False
        if self.identical:
            return self.differing is not None and self.differing <= DIFFERING
        return self.low is not None and self.low > -max_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """All variants of a model, measured on one gold set.

    Attributes:
        experiment: Its name.
        model: The reference's model, as people read it.
        metric: What was lost or kept.
        max_loss: The margin.
        by: The cost that was made small; `all` is the geometric mean of the three ratios.
        alpha: All intervals together cover with 1 - alpha.
        reference: The reference.
        results: The variants, in the order asked for.
        n_passages: Vectors in the index.
        usd_per_cpu_hour: What an hour of one core costs; None where no price is known.
        store: Where vectors were searched, in words.
    """

    experiment: str
    model: str
    metric: str
    max_loss: float
    by: CostKind
    alpha: float
    reference: VariantResult
    results: tuple[VariantResult, ...]
    n_passages: int
    usd_per_cpu_hour: float | None
    store: str

    @property
    def family(self) -> int:
        """Intervals that hold together."""
        return sum(result.low is not None for result in self.results)

    def cost(self, result: VariantResult) -> float | None:
        """As a share of the reference's; None where it was not measured."""
        base, costs = self.reference.costs, result.costs
        if base is None or costs is None:
            return None
        ratios = {"query": costs.query_ratio, "passage": costs.passage_ratio, "bytes": costs.vector_bytes / base.vector_bytes}
        if self.by == "all":
            return float((ratios["query"] * ratios["passage"] * ratios["bytes"]) ** (1 / 3))
        return ratios[self.by]

    @property
    def pick(self) -> VariantResult:
        """The cheapest within the margin; the reference itself where no variant is both."""
        candidates = [self.reference, *(result for result in self.results if result.within(self.max_loss))]
        return min(candidates, key=lambda result: self.cost(result) or 1.0)

    def on_front(self, result: VariantResult) -> bool:
        """Whether no other variant is as good in the mean and cheaper, or as cheap and better (Pareto)."""
        mine, cost = result.mean, self.cost(result)
        if mine is None or cost is None:
            return False
        others = [(other.mean, self.cost(other)) for other in (self.reference, *self.results) if other is not result]
        return not any(m is not None and c is not None and m >= mine and c <= cost and (m, c) != (mine, cost) for m, c in others)


def variant_named(name: str) -> Variant:
    """The variant of a name as `Variant.name` writes it; parts that are left out are the reference's.

    Raises:
        ValueError: A part is none of a variant's.
    """
    backend, precision, dimensions, vectors = "torch", "fp32", None, "fp32"
    for part in name.split("+"):
        kind, _, value = part.partition("-")
        if kind in ("torch", "onnx", "openvino") and value in ("fp32", "bf16", "int8"):
            backend, precision = kind, value
        elif kind == "vectors" and value in ("int8", "binary"):
            vectors = value
        elif part.startswith("dim") and part[3:].isdigit() and int(part[3:]):
            dimensions = int(part[3:])
        else:
            raise ValueError(
                f"variant {name!r} has the part {part!r}: give torch-bf16, onnx-fp32, onnx-int8, openvino-fp32, openvino-bf16, "
                "openvino-int8, dimN, vectors-int8 or vectors-binary, joined by '+'"
            )
    if (backend, precision) in (("torch", "int8"), ("onnx", "bf16")):
        raise ValueError(f"variant {name!r}: {backend} has no {precision}")
    return Variant(backend=backend, precision=precision, dimensions=dimensions, vectors=vectors)  # type: ignore[arg-type]  # checked above


def usual_variants(dimension: int) -> tuple[Variant, ...]:
    """What is tried where nothing else is asked for.

    Args:
        dimension: Of the model: truncation goes below it.
    """
    names = ["torch-bf16", "onnx-fp32", "onnx-int8", "openvino-bf16", "openvino-int8"]
    names += [f"dim{n}" for n in (256, 128, 64) if n < dimension]
    names += ["vectors-int8", "vectors-binary", "torch-bf16+vectors-int8", "openvino-bf16+vectors-int8", "onnx-int8+vectors-int8"]
    names += ["openvino-bf16+dim256+vectors-int8"] if dimension > 256 else []
    return tuple(variant_named(name) for name in names)
