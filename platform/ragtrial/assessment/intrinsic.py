"""How a model's vectors lie, alone or beside its base: every property a number with an interval, or a reason.

Each property is measured as one value a unit (a pair, a text, a query) whose mean is the property, so that the model's value, the base's,
and the paired difference between them come from the same t interval.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragtrial.assessment.sides import Floats, Sides, compared
from ragtrial.contracts import Vectors
from ragtrial.domain.estimate import Estimate
from ragtrial.domain.intrinsic import JudgedPair, Measured, TermPair
from ragtrial.errors import NotEnoughDataError
from ragtrial.formats.terms import Similarity
from ragtrial.stats.geometry import (
    MOST_ROWS,
    Change,
    Coherence,
    Separation,
    alignment,
    anisotropy,
    coherence,
    effective_dimension,
    rank_correlation,
    separation,
    separation_change,
    uniformity,
)


def measure_terms(pairs: Sequence[TermPair], sides: Sides) -> tuple[tuple[Measured, ...], tuple[JudgedPair, ...]]:
    """Whether near pairs are nearer than far ones, and every pair with those on its wrong side.

    Args:
        pairs: Of an expert.
        sides: The models.
    """
    terms = sorted({term for pair in pairs for term in (pair.left, pair.right)})
    place = {term: row for row, term in enumerate(terms)}
    left, right = ([place[getattr(pair, side)] for pair in pairs] for side in ("left", "right"))
    cosines = [None if rows is None else _cosines(rows[left], rows[right]) for rows in sides.passages(terms)]
    near = np.array([pair.near for pair in pairs], dtype=bool)
    found = [None if values is None else _separated(values[near], values[~near], alpha=sides.alpha) for values in cosines]
    first, second = found
    name, n = "near pairs are nearer than far ones (AUC)", len(pairs)
    change = None
    if cosines[0] is not None and cosines[1] is not None:
        gap = first.auc - second.auc if isinstance(first, Separation) and isinstance(second, Separation) else None
        change = _auc_change(name, gap, cosines[0], cosines[1], near, sides)
    measured = Measured(
        name=name,
        value=_of_separation(name, n, first),
        before=None if second is None else _of_separation(name, n, second),
        change=change,
        better="higher",
        note="0.5 is chance, 1 is as the expert has it; pairs are taken as independent",
    )
    assert cosines[0] is not None  # noqa: S101 - the model always has vectors; for mypy
    return (measured,), _judged_pairs(pairs, near, cosines[0], cosines[1])


def _cosines(left: Vectors, right: Vectors) -> Floats:
    found: Floats = (np.asarray(left, dtype=np.float64) * np.asarray(right, dtype=np.float64)).sum(axis=1)
    return found


def _separated(near: Floats, far: Floats, *, alpha: float) -> Separation | str:
    try:
        return separation(near, far, alpha=alpha)
    except NotEnoughDataError as error:
        return str(error)


def _of_separation(name: str, n: int, found: Separation | str | None) -> Estimate:
    if isinstance(found, Separation):
        return Estimate(name=name, n=n, value=found.auc, low=found.low, high=found.high)
    return Estimate(name=name, n=n, reason=found or "there is none")


def _auc_change(name: str, gap: float | None, model: Floats, base: Floats, near: NDArray[np.bool_], sides: Sides) -> Estimate:
    try:
        change = separation_change(
            (base[near], model[near]), (base[~near], model[~near]), alpha=sides.alpha, resamples=sides.resamples, rng=sides.rng()
        )
    except NotEnoughDataError as error:
        return Estimate(name=name, n=len(near), value=gap, reason=str(error))
    return _changed(name, len(near), change)


def _changed(name: str, n: int, change: Change) -> Estimate:
    return Estimate(name=name, n=n, value=change.estimate, low=change.low, high=change.high)


def _judged_pairs(pairs: Sequence[TermPair], near: NDArray[np.bool_], model: Floats, base: Floats | None) -> tuple[JudgedPair, ...]:
    """Each pair with how many of the other kind are on its wrong side; the worst in the model first."""

    def wrong(values: Floats, place: int) -> int:
        other = values[near != near[place]]
        return int((other >= values[place]).sum() if near[place] else (other <= values[place]).sum())

    rows = [
        JudgedPair(
            pair=pair,
            similarity=float(model[place]),
            wrong=wrong(model, place),
            before=None if base is None else float(base[place]),
            wrong_before=None if base is None else wrong(base, place),
            n_other=int((near != near[place]).sum()),
        )
        for place, pair in enumerate(pairs)
    ]
    return tuple(sorted(rows, key=lambda row: (-row.wrong / max(row.n_other, 1), row.pair.left)))


def measure_groups(groups: Mapping[str, Sequence[str]], sides: Sides) -> tuple[tuple[Measured, ...], tuple[str, ...]]:
    """How topics hold together.

    Args:
        groups: Texts of each topic; a topic may be empty, which is counted as left out and never as a number.
        sides: The models.

    Returns:
        What was measured, and what was left out.
    """
    empty = sorted(name for name, texts in groups.items() if not texts)
    alone = sorted(name for name, texts in groups.items() if len(texts) == 1)
    kept = {name: texts for name, texts in groups.items() if len(texts) > 1}
    excluded = [f"topic {name!r} is empty: nothing can be said of how it holds together" for name in empty]
    if alone:
        shown = ", ".join(map(repr, alone[:3]))
        excluded.append(
            f"{len(alone)} topics have a single text and are left out of coherence ({shown}{', ...' if len(alone) > 3 else ''})"
        )
    labels = [name for name, texts in kept.items() for _ in texts]
    texts = [text for members in kept.values() for text in members]
    rows, base = sides.queries(texts) if texts else (np.empty((0, 1), dtype=np.float32), None)
    model_found = _coherent(rows, labels)
    base_found = None if base is None else _coherent(base, labels)
    note = "1: topics lie apart; 0: they run into each other; below: texts lie nearer to another topic"
    silhouette = compared(
        "topics hold together (silhouette)",
        model_found.silhouette if isinstance(model_found, Coherence) else model_found,
        None if base_found is None else base_found.silhouette if isinstance(base_found, Coherence) else base_found,
        sides,
        clusters=labels,
        better="higher",
        note=note,
    )
    apart = _points("similarity inside topics minus between them", model_found, base_found, lambda c: c.within - c.between)
    return (silhouette, apart), tuple(excluded)


def _coherent(rows: Vectors, labels: Sequence[str]) -> Coherence | str:
    try:
        return coherence(rows, list(labels))
    except NotEnoughDataError as error:
        return str(error)


def _points(name: str, model: Coherence | str, base: Coherence | str | None, take: Callable[[Coherence], float]) -> Measured:
    def point(found: Coherence | str) -> Estimate:
        if isinstance(found, str):
            return Estimate(name=name, n=0, reason=found)
        return Estimate(name=name, n=found.n, value=take(found), reason="no interval is computed for it")

    change = None
    if isinstance(model, Coherence) and isinstance(base, Coherence):
        change = Estimate(name=name, n=model.n, value=take(model) - take(base), reason="no interval is computed for it")
    return Measured(
        name=name,
        value=point(model),
        before=None if base is None else point(base),
        change=change,
        better="higher",
        note="mean cosine of two texts of one topic, less that of texts of two topics",
    )


def measure_space(texts: Sequence[str], together: Sequence[tuple[str, str]], sides: Sides) -> tuple[Measured, ...]:
    """Alignment, uniformity, anisotropy and the effective dimension.

    Args:
        texts: Passages; a random part of them is taken where there are many.
        together: Queries with passages that answer them; may be empty.
        sides: The models.
    """
    if len(texts) > MOST_ROWS:
        texts = [texts[place] for place in np.sort(sides.rng().permutation(len(texts))[:MOST_ROWS])]
    model, base = sides.passages(texts)
    made = [_alignment(together, sides)]
    for name, measure, better, note in (
        ("uniformity", uniformity, "lower", "log mean Gaussian potential of two passages; lower is more evenly spread"),
        ("anisotropy", anisotropy, "none", "mean cosine of two random passages; near 1 means a narrow cone, in which cosines say little"),
    ):
        made.append(
            compared(
                name, _try(measure, model), None if base is None else _try(measure, base), sides, clusters=None, better=better, note=note
            )
        )
    dimensions = [None if rows is None else _dimension(rows) for rows in (model, base)]
    change = None
    first, second = dimensions
    if first is not None and second is not None and first.value is not None and second.value is not None:
        change = Estimate(
            name="effective dimension", n=len(texts), value=first.value - second.value, reason="no interval is computed for it"
        )
    assert first is not None  # noqa: S101 - for mypy
    made.append(
        Measured(
            name="effective dimension",
            value=first,
            before=second,
            change=change,
            better="none",
            note=f"directions that the variance is spread over, of {model.shape[1]}",
        )
    )
    return tuple(made)


def _alignment(together: Sequence[tuple[str, str]], sides: Sides) -> Measured:
    together = list(together)[:MOST_ROWS]
    values: list[Floats | str | None] = ["no query has a relevant passage", None]
    if together:
        left, right = sides.queries([query for query, _ in together]), sides.passages([passage for _, passage in together])
        values = [None if a is None or b is None else alignment(a, b) for a, b in zip(left, right, strict=True)]
    elif sides.base is not None:
        values[1] = values[0]
    first = values[0]
    assert first is not None  # noqa: S101 - for mypy
    return compared(
        "alignment",
        first,
        values[1],
        sides,
        clusters=[query for query, _ in together],
        better="lower",
        note="squared distance of a query and a passage that answers it, 0 to 4; read it beside uniformity: a cone aligns everything",
    )


def _try(measure: Callable[[Vectors], Floats], rows: Vectors) -> Floats | str:
    try:
        return measure(rows)
    except NotEnoughDataError as error:
        return str(error)


def _dimension(rows: Vectors) -> Estimate:
    try:
        value = effective_dimension(rows)
    except NotEnoughDataError as error:
        return Estimate(name="effective dimension", n=len(rows), reason=str(error))
    return Estimate(name="effective dimension", n=len(rows), value=value, reason="no interval is computed for it")


def measure_sts(items: Sequence[Similarity], sides: Sides) -> tuple[Measured, ...]:
    """Spearman's correlation of cosine with people's scores (Reimers et al. 2016 on why it, and not Pearson's)."""
    name = "similarity as people judge it (Spearman)"
    left, right = sides.passages([item.left for item in items]), sides.passages([item.right for item in items])
    scores = np.array([item.score for item in items])
    found: list[Estimate | None] = []
    for a, b in zip(left, right, strict=True):
        if a is None or b is None:
            found.append(None)
            continue
        try:
            correlation = rank_correlation(_cosines(a, b), scores, alpha=sides.alpha, resamples=sides.resamples, rng=sides.rng())
            found.append(_changed(name, len(items), correlation))
        except NotEnoughDataError as error:
            found.append(Estimate(name=name, n=len(items), reason=str(error)))
    first, second = found
    change = None
    if first is not None and second is not None and first.value is not None and second.value is not None:
        change = Estimate(name=name, n=len(items), value=first.value - second.value, reason="the intervals of both stand beside it")
    assert first is not None  # noqa: S101 - for mypy
    return (Measured(name=name, value=first, before=second, change=change, better="higher", note="over the given pairs"),)
