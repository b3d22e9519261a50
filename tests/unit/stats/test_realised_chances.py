import numpy as np
import pytest

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.labelling import items_to_label, realised_chances

JUDGED = np.random.default_rng(1).normal(size=80)
UNSURE = np.where(np.arange(80) % 4 == 0, 0.5, 0.0)


@pytest.mark.parametrize("uncertainty", [None, UNSURE])
def test_they_are_the_planned_chances_where_all_that_was_drawn_is_labelled_over_two_rounds(uncertainty: np.ndarray | None) -> None:
    rng = np.random.default_rng(2)
    first = items_to_label(JUDGED, [], more=12, rng=rng, uncertainty=uncertainty)
    second = items_to_label(JUDGED, first.rows, more=20, rng=rng, uncertainty=uncertainty)
    rows = np.concatenate([first.rows, second.rows])
    assert len(set(rows.tolist())) == 32, "no row is drawn twice"
    assert realised_chances(JUDGED, first.rows, uncertainty=uncertainty).tolist() == first.probabilities[first.rows].tolist()
    assert realised_chances(JUDGED, rows, uncertainty=uncertainty).tolist() == second.probabilities[rows].tolist()


def test_where_rows_were_left_blank_the_others_stand_for_their_stratum() -> None:
    sure, unsure = np.flatnonzero(UNSURE == 0), np.flatnonzero(UNSURE)
    rows = np.concatenate([sure[:6], unsure[:5]])
    assert realised_chances(JUDGED, rows, uncertainty=UNSURE).tolist() == [6 / 60] * 6 + [5 / 20] * 5


def test_labels_that_leave_a_stratum_out_are_refused_unless_only_their_own_chances_are_asked_for() -> None:
    unsure = np.flatnonzero(UNSURE)[:5]
    with pytest.raises(NotEnoughDataError, match="no label stands for 60 of the 80 rows"):
        realised_chances(JUDGED, unsure, uncertainty=UNSURE)
    assert realised_chances(JUDGED, unsure, uncertainty=UNSURE, all_strata=False).tolist() == [0.25] * 5
    assert realised_chances(JUDGED, [], uncertainty=UNSURE, all_strata=False).tolist() == []
