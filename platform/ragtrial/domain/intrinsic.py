"""How a model's vectors lie, apart from any retrieval: alone, or beside the base it was made from."""

from dataclasses import dataclass

from ragtrial.domain.estimate import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class TermPair:
    """Two terms that a domain expert says are near, or far.

    Attributes:
        left: One term.
        right: The other.
        near: Whether they should be near.
        note: Why; may be empty.
    """

    left: str
    right: str
    near: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPair:
    """A term pair in the models.

    Attributes:
        pair: As the expert wrote it.
        similarity: Cosine in the model.
        wrong: Pairs of the other kind that lie on its wrong side in the model; 0 is right.
        before: Cosine in the base; None without one.
        wrong_before: The same count in the base; None without one.
        n_other: Pairs of the other kind.
    """

    pair: TermPair
    similarity: float
    wrong: int
    before: float | None
    wrong_before: int | None
    n_other: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One property in the model and in the base.

    Attributes:
        name: In words.
        value: In the model, or why it has none.
        before: In the base; None where there is no base.
        change: Model minus base; None where there is no base.
        better: `higher` or `lower` is better; `same`: it should stay; `none`: neither is better by itself.
        note: What it means.
    """

    name: str
    value: Estimate
    before: Estimate | None
    change: Estimate | None
    better: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intrinsic:
    """The intrinsic evaluation of one model.

    Attributes:
        model: For people.
        base: The one that it is compared with; None where there is none.
        level: What intervals cover.
        terms: Properties of the term pairs; empty where no file was given.
        pairs: Every term pair, those on the wrong side first.
        groups: Of the topics.
        space: Of the vectors.
        sts: Similarity judgments; empty where none were given.
        general: Regressions on general text.
        general_source: Which general text, and what it is good for.
        excluded: What was left out, and why.
        warnings: What a reader has to be told.
    """

    model: str
    base: str | None
    level: float
    terms: tuple[Measured, ...]
    pairs: tuple[JudgedPair, ...]
    groups: tuple[Measured, ...]
    space: tuple[Measured, ...]
    sts: tuple[Measured, ...]
    general: tuple[Measured, ...]
    general_source: str
    excluded: tuple[str, ...]
    warnings: tuple[str, ...]
