"""What people said of the judge, in words: a few sentences for reports, all of it for `ragtrial calibrate`."""

from collections.abc import Callable

from ragtrial.domain.calibration import Agreement, ArmEstimates, Calibration, Estimate
from ragtrial.report import words

_SELECTIONS = {"random": "drawn at random", "volunteered": "that came by themselves (they say nothing of other answers)"}


def signed(value: Estimate | None) -> str:
    """`+0.0410 [+0.0120, +0.0700]`, or a dash."""
    return words.NOTHING if value is None else f"{value.estimate:+.4f} [{value.low:+.4f}, {value.high:+.4f}]"


def mean(value: Estimate | None) -> str:
    """`0.4100 [0.3800, 0.4400]`, or a dash."""
    return words.NOTHING if value is None else f"{value.estimate:.4f} [{value.low:.4f}, {value.high:.4f}]"


def sentence(found: Calibration, *, treatment: str, level: str) -> str:
    """What a report says of one metric, without its full stop."""
    if not found.n_labels:
        return f"{found.metric}: no label of people counts ({'; '.join([*found.stale, *_volunteers(found)])})"
    said = [
        f"{found.metric}: {words.count(found.n_answers, 'answer')} to {words.count(found.n_queries, 'query', 'queries')} labelled by people"
    ]
    said += [f"they agree with the judge on {_share(each)} ({level} interval)" for each in found.agreements if each.selection == "random"]
    if found.bias.difference is not None:
        said.append(f"the judge is more lenient to {treatment} by {signed(found.bias.difference)}")
    if found.corrected.difference is None:
        said.append(f"the difference can't be corrected ({found.corrected.why_not})")
    else:
        said.append(
            f"the difference is {signed(found.naive.difference)} as judged and {signed(found.corrected.difference)} corrected by people"
        )
    return "; ".join([*said, *found.stale])


def lines(found: Calibration, *, control: str, treatment: str, level: str) -> list[str]:
    """All that is known of one metric."""
    said = [f"{found.metric}, judged by {found.scorer or 'an unknown judge'}"]
    said.append(
        f"  labels that count: {found.n_labels:,} of {words.count(found.n_answers, 'answer')} to "
        f"{words.count(found.n_queries, 'query', 'queries')}, {found.n_pairs:,} of them labelled in both arms"
    )
    said += [f"  not used: {each}" for each in _unused(found)]
    for each in found.agreements:
        said += [f"  {line}" for line in _agreement(each, level)]
    said += _table("judge minus people", found.bias, control, treatment, means=signed)
    said += _table("as judged", found.naive, control, treatment)
    said += _table("corrected by people", found.corrected, control, treatment)
    if found.method is not None and found.corrected.difference is not None:
        how = "both arms' answers to a query" if found.method == "paired" else "each arm's answers by themselves"
        said.append(f"  corrected by prediction-powered inference (PPI++) from {how}; {level} intervals")
    return said


def _unused(found: Calibration) -> list[str]:
    said = [*found.stale, *_volunteers(found)]
    if found.n_unused:
        said.append(f"{words.count(found.n_unused, 'label')} of queries that the judge has not scored in both arms")
    return said


def _volunteers(found: Calibration) -> list[str]:
    if not found.n_volunteered:
        return []
    why = "which answers people pick tells of them, not of the rest, and no formula can mend that"
    return [f"{words.count(found.n_volunteered, 'label')} that came by themselves correct nothing: {why}"]


def _share(each: Agreement) -> str:
    return f"{each.share.estimate:.0%} [{each.share.low:.0%}, {each.share.high:.0%}]"


def _agreement(each: Agreement, level: str) -> list[str]:
    said = [f"agreement on {words.count(each.n, 'label')} {_SELECTIONS[each.selection]}: {_share(each)} ({level} interval)"]
    for name, value in (("Cohen's kappa", each.kappa), ("weighted kappa", each.weighted_kappa)):
        if value is not None:
            said.append(f"{name} {signed(value)}")
    if each.why_not is not None:
        said.append(f"no kappa: {each.why_not}")
    width = max(map(len, each.words)) + 2
    said.append(f"{'people | judge':<16}" + "".join(f"{word:>{width}}" for word in each.words))
    said += [f"{word:<16}" + "".join(f"{n:>{width}}" for n in row) for word, row in zip(each.words, each.confusion, strict=True)]
    return said


def _table(title: str, found: ArmEstimates, control: str, treatment: str, means: Callable[[Estimate | None], str] = mean) -> list[str]:
    said = [
        f"  {title:<20} {control} {means(found.control)}   {treatment} {means(found.treatment)}   difference {signed(found.difference)}"
    ]
    if found.control is None and found.treatment is None and found.difference is None:
        return [f"  {title:<20} not told: {found.why_not}"]
    return [*said, f"  {'':<20} not told: {found.why_not}"] if found.why_not else said
