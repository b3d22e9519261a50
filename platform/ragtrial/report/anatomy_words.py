"""What the charts of where a difference comes from have found, in one sentence each: their titles."""

from collections.abc import Sequence

from ragtrial.analysis.anatomy import Anatomy, LiftCell, OverlapAt, RecallAt
from ragtrial.domain.metric import Metric
from ragtrial.report import words

NEAR = 0.0005
"""Means closer than this look the same on a page."""

_CHANGES = {
    "better": "retrieval better",
    "worse": "retrieval worse",
    "same passages": "same passages",
    "other passages": "others, as good",
}


def cell_name(cell: LiftCell) -> str:
    """A way in which retrieval changed, with its queries."""
    return f"{_CHANGES[cell.retrieval]} ({cell.n_scored:,})"


def cell_gain(cell: LiftCell, metric: Metric) -> str:
    """The mean gain of the answers with its interval, or why there is none."""
    if cell.mean is None:
        return cell.reason or words.NOTHING
    ends = "" if cell.low is None or cell.high is None else f" [{_signed(cell.low, metric)}, {_signed(cell.high, metric)}]"
    return f"{words.signed(cell.mean, metric)}{ends or ', no interval'}"


def _signed(value: float, metric: Metric) -> str:
    return words.signed(value, metric, unit=False)


def cell_values(cell: LiftCell) -> str:
    """All that is in one bar, in words."""
    mean = "" if cell.mean is None else f", mean gain {cell.mean:+.4f}"
    ends = "" if cell.low is None or cell.high is None else f" [{cell.low:+.4f}, {cell.high:+.4f}]"
    return f"{cell_name(cell)}: {cell.better:,} better, {cell.equal:,} the same, {cell.worse:,} worse{mean}{ends}"


def lift(anatomy: Anatomy, *, treatment: str) -> str:
    """Where the answers got better: where retrieval did, or elsewhere too."""
    if anatomy.retrieval_metric is None:
        return "No retrieval metric was measured, so nothing tells where answers changed"
    if anatomy.answer_metric is None:
        return _retrieval_alone(anatomy, treatment)
    cells = {cell.retrieval: cell for cell in anatomy.lift if cell.n_scored}
    if not cells:
        return f"No answers were scored in both arms: {_why_unscored(anatomy)}"
    said = []
    changed = max((cells[change] for change in ("better", "worse") if change in cells), key=lambda cell: cell.n_scored, default=None)
    if changed is not None:
        up = changed.retrieval == "better"
        said.append(f"Where {treatment} retrieved {changed.retrieval}, {_answers(changed, up)}")
    if "same passages" in cells:
        where = "where both arms found the same passages" if said else "Where both arms found the same passages"
        said.append(f"{where} {_unchanged(cells['same passages'])}")
    if not said:
        said.append(f"Both arms found other passages that are as good, and {_answers(cells['other passages'], True)}")
    return "; ".join(said)


def _why_unscored(anatomy: Anatomy) -> str:
    return next((cell.reason for cell in anatomy.lift if cell.reason is not None), "nothing was retrieved")


def _retrieval_alone(anatomy: Anatomy, treatment: str) -> str:
    n = {cell.retrieval: cell.n for cell in anatomy.lift}
    total = sum(n.values())
    return (
        f"{treatment} retrieved better on {n.get('better', 0):,} and worse on {n.get('worse', 0):,} of "
        f"{words.count(total, 'query', 'queries')}; answers were not scored"
    )


def _answers(cell: LiftCell, up: bool) -> str:
    """How many answers moved, those that moved the expected way first."""
    first, second = (("better", cell.better), ("worse", cell.worse)) if up else (("worse", cell.worse), ("better", cell.better))
    rest = f" and {second[0]} in {second[1]:,}" if second[1] else ""
    return f"answers got {first[0]} in {first[1]:,} of {words.count(cell.n_scored, 'query', 'queries')}{rest}"


def _unchanged(cell: LiftCell) -> str:
    moved = cell.better + cell.worse
    if not moved:
        return "they stayed the same"
    return f"{moved:,} of {words.count(cell.n_scored, 'answer')} changed all the same"


def recall(curves: Sequence[RecallAt], *, baseline: str, custom: str) -> str:
    """Which arm finds more, and at which depth."""
    left, right = ({each.k: each for each in curves if each.arm == arm} for arm in (baseline, custom))
    depths = sorted(left.keys() & right.keys())
    if not depths:
        return "Recall could not be measured: no query has a relevant passage"
    ahead = [k for k in depths if right[k].mean > left[k].mean + NEAR]
    behind = [k for k in depths if right[k].mean < left[k].mean - NEAR]
    first, last = depths[0], depths[-1]
    ends = f"R@{last} {left[last].mean:.2f} → {right[last].mean:.2f}"
    if first != last:
        ends = f"R@{first} {left[first].mean:.2f} → {right[first].mean:.2f}, {ends}"
    if not ahead and not behind:
        return f"Both arms find as much at every depth ({ends})"
    if not behind:
        return f"{custom} finds more {_depths(ahead, depths)} ({ends})"
    if not ahead:
        return f"{custom} finds less {_depths(behind, depths)} ({ends})"
    return f"{custom} finds more {_depths(ahead, depths)} and less {_depths(behind, depths)} ({ends})"


def _depths(some: Sequence[int], every: Sequence[int]) -> str:
    """Where: at every depth, among the first few, from a depth on, or at some depths."""
    if len(some) == len(every):
        return "at every depth"
    if list(some) == list(every[: len(some)]):
        return f"among the first {some[-1]}" if some[-1] > 1 else "in the first place"
    if list(some) == list(every[-len(some) :]):
        return f"from k = {some[0]} on"
    return f"at {len(some)} of {len(every)} depths"


def recall_values(curves: Sequence[RecallAt]) -> str:
    """First and last point of every line, in words."""
    said = []
    for arm in dict.fromkeys(each.arm for each in curves):
        points = sorted((each for each in curves if each.arm == arm), key=lambda each: each.k)
        shown = points if len(points) < 2 else (points[0], points[-1])
        said.append(f"{arm} {', '.join(f'R@{each.k} {each.mean:.4f}{_ends(each)}' for each in shown)}")
    return f"Recall by depth: {'; '.join(said)}"


def _ends(point: RecallAt) -> str:
    return "" if point.low is None or point.high is None else f" [{point.low:.4f}, {point.high:.4f}]"


def overlap(curve: Sequence[OverlapAt]) -> str:
    """How much of what they show both arms have in common."""
    if not curve:
        return "No query has a ranking in both arms, so nothing can be in common"
    last = max(curve, key=lambda each: each.k)
    if last.mean > 1 - NEAR:
        return f"Both arms show the same {last.k} passages"
    first = min(curve, key=lambda each: each.k)
    n = f"{last.mean * last.k:.1f}"
    shared = f"The arms share {n if float(n) < last.k else 'nearly all'} of their first {last.k} passages"
    return f"{shared}, and agree on the first one for {first.mean:.0%} of {words.count(first.n, 'query', 'queries')}"


def lift_caption(anatomy: Anatomy) -> str:
    """How to read the chart, and what is not in it."""
    said = f"Queries by what happened to {anatomy.retrieval_metric}; answers by {anatomy.answer_metric}. Not planned, so no claim."
    unscored = sum(cell.n - cell.n_scored for cell in anatomy.lift)
    left_out = [
        (unscored, "without a scored answer in both arms"),
        (anatomy.n_without_ranking, "whose search failed"),
        (anatomy.n_without_score, "with other passages of which nothing says which are better"),
    ]
    missing = [f"{words.count(n, 'query', 'queries')} {why}" for n, why in left_out if n]
    return f"{said} Not drawn: {'; '.join(missing)}." if missing else said
