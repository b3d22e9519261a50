"""Hysteresis: what raises an alert, what clears it, and what does neither."""

import pytest

from ragtrial.domain.monitor import MonitorSpec, Signal, SignalKind
from ragtrial.monitoring.alerting import judged, sentence
from ragtrial.monitoring.terms import Vocabulary, words_of

SPEC = MonitorSpec(raise_above=0.2, clear_below=0.1, raise_looks=2, clear_looks=3)


def found(effect: float | None, half: float = 0.05, kind: SignalKind = "query_length") -> Signal:
    if effect is None:
        return Signal(kind=kind, n=20, n_reference=500, reason="too few: 20 of the 100 needed in the window")
    return Signal(kind=kind, effect=effect, low=effect - half, high=effect + half, n=500, n_reference=500)


def changes(effects: list[float | None], *, half: float = 0.05, kind: SignalKind = "query_length") -> str:
    """R for raised, C for cleared, - for no change, look by look."""
    before, said = None, ""
    for look, effect in enumerate(effects):
        before, change = judged(found(effect, half, kind), before, SPEC, at=float(look))
        said += {"raised": "R", "cleared": "C", None: "-"}[change]
    return said


@pytest.mark.parametrize(
    ("effects", "said"),
    [
        ([0.5, 0.5, 0.5, 0.5], "-R--"),
        ([0.5, 0.0, 0.5, 0.0], "----"),  # never twice in a row
        ([0.5, -0.5, 0.0, 0.0], "-R--"),  # beyond the level, on either side
        ([0.24, 0.24, 0.24], "---"),  # above the level, but its interval is not
        ([0.5, 0.5, 0.15, 0.15, 0.15, 0.15], "-R----"),  # between the levels nothing changes
        ([0.5, 0.5, 0.0, 0.0, 0.0, 0.0], "-R--C-"),
        ([0.5, 0.5, 0.0, 0.0, 0.15, 0.0, 0.0, 0.0], "-R-----C"),
        ([0.5, None, 0.5], "--R"),  # a look that can't tell interrupts nothing
        ([None, None, None, None], "----"),
        ([0.5, 0.5, None, None, None, None, 0.0, 0.0, 0.0, 0.5, 0.5], "-R------C-R"),
    ],
)
def test_alerts_change_as_written(effects: list[float | None], said: str) -> None:
    assert changes(effects) == said


def test_an_interval_that_is_wide_raises_nothing_however_large_the_effect_is() -> None:
    assert changes([0.9, 0.9, 0.9], half=0.75) == "---"


def test_a_distance_below_0_is_no_drift() -> None:
    assert changes([-0.5, -0.5, -0.5], kind="query_embedding") == "---"
    assert changes([0.5, 0.5, -0.5, -0.5, -0.5], kind="query_embedding") == "-R--C"


def test_an_alert_that_stands_says_so_also_where_nothing_can_be_told() -> None:
    raised, _ = judged(found(0.5), judged(found(0.5), None, SPEC, at=1.0)[0], SPEC, at=2.0)
    later, change = judged(found(None), raised, SPEC, at=3.0)
    assert (later.state, later.since, change) == ("raised", 2.0, None)
    assert later.reason == "too few: 20 of the 100 needed in the window"


def test_two_means_are_said_in_words_for_a_line_may_break_inside_an_arrow() -> None:
    said = sentence(Signal(kind="new_terms", effect=0.5, low=0.4, high=0.6, mean=0.109, reference_mean=0.007, n=5_516, n_reference=4_478))
    assert said == "words never seen before: +0.50 [+0.40, +0.60] standard deviations, from 0.7% to 10.9% (n = 5,516 against 4,478)"


def test_a_number_without_an_interval_or_nothing_without_a_reason_is_no_signal() -> None:
    with pytest.raises(ValueError, match="both ends"):
        Signal(kind="new_terms", effect=0.1, n=1, n_reference=1)
    with pytest.raises(ValueError, match="neither an effect nor a reason"):
        Signal(kind="new_terms", n=1, n_reference=1)


def test_words_are_normalised_and_numbers_are_none() -> None:
    assert words_of("The CRANE\u2019s \ufb01rst e-mail of 2026, Straße 7b") == {
        "the",
        "crane\u2019s",
        "first",
        "e-mail",
        "of",
        "strasse",
        "b",
    }


def test_a_word_is_new_unless_the_corpus_or_another_user_has_it() -> None:
    known = Vocabulary(["The crane lifts."], ["crane tensor", "tensor kernel", "kernel gradient"], ["ann", "bob", "bob"])
    assert known.new_in("the crane", "ann") == (False, False)
    assert known.new_in("tensor", "ann") == (False,)  # bob has it
    assert known.new_in("kernel", "bob") == (True,)  # only bob himself has it, in two queries
    assert known.new_in("kernel", "eve") == (False,)
    assert known.new_in("epoch", "eve") == (True,)
    assert known.new_in("12 + 7", "eve") == ()
