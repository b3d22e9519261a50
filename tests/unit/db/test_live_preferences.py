"""Two answers beside each other and what was preferred: written together, once, and gone with their unit."""

import dataclasses
import random

import pytest

from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.reader import Reader
from ragtrial.domain.live import Assignment
from ragtrial.domain.live_preference import Choice, Comparison, Preference
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.errors import DuplicateRequestError, RecordRefusedError, UnknownComparisonError
from ragtrial.splitting import pseudonym
from unit.db import live_samples
from unit.db.live_samples import START, Clock, live_trial

SPLIT = live_samples.experiment()


def side(trial_id: str, arm: str, unit: str | None = "ann") -> LiveTrial:
    shown = Assignment(unit=None, arm=arm, reason="override", bucket=None if unit is None else 9, version=1)
    return live_trial(trial_id, unit, arm, assignment=shown)


def comparison(name: str = "c1", unit: str | None = "ann", **more: object) -> Comparison:
    """Named so that its trials are too; the custom arm stands left."""
    given = {"left": side(f"{name}-l", "custom", unit), "right": side(f"{name}-r", "baseline", unit), "caller": "tester", **more}
    return Comparison(comparison_id=name, unit=None if unit is None else pseudonym(unit), at=START + 60, **given)  # type: ignore[arg-type]


def preference(key: str, choice: Choice = "left", *, of: str = "c1", caller: str = "tester", comment: str = "", at: float = START + 90):
    return Preference(comparison_id=of, caller=caller, key=key, choice=choice, comment=comment, at=at)


@pytest.fixture
def recorder(url: str):
    with LiveRecorder(url, SPLIT, clock=Clock()) as recording:
        yield recording


def test_a_comparison_comes_back_with_both_trials_in_their_order(url: str, recorder: LiveRecorder) -> None:
    made = comparison(idempotency_key="k")
    recorder.compare(made).result(10)
    with LiveReader(url) as reader:
        assert reader.comparison("c1") == made
        assert reader.comparison_by_key(recorder.live_id, caller="tester", idempotency_key="k") == made
        assert reader.comparison_by_key(recorder.live_id, caller="another", idempotency_key="k") is None
        assert reader.comparison("c2") is None
        assert reader.trial("c1-l") == made.left


def test_the_trials_of_comparisons_stay_out_of_the_splits_analysis_and_are_counted_as_excluded(url: str, recorder: LiveRecorder) -> None:
    recorder.log(live_trial("t1", "bob")).result(10)
    recorder.compare(comparison()).result(10)
    with LiveReader(url) as reader:
        found = reader.exposure(recorder.live_id, experiment=SPLIT)
        assert (found.trials.sum(), dict(found.excluded), found.in_both) == (1, {"override": 2}, 0)


def test_the_last_preference_counts_and_the_history_is_kept(url: str, recorder: LiveRecorder) -> None:
    recorder.compare(comparison()).result(10)
    said = [preference("a", "left", comment="shorter"), preference("b", "both"), preference("c", "withdrawn")]
    assert [recorder.prefer(each).result(10) for each in said] == ["recorded"] * 3
    assert recorder.prefer(preference("a", "right")).result(10) == "repeated"
    with LiveReader(url) as reader:
        assert reader.preferences_of("c1") == tuple(said)
        assert reader.preferences_of("c2") == ()


def test_only_the_caller_who_was_shown_a_comparison_may_judge_it(url: str, recorder: LiveRecorder) -> None:
    recorder.compare(comparison()).result(10)
    words = set()
    for stranger in (preference("a", caller="another"), preference("a", of="c9")):
        with pytest.raises(UnknownComparisonError) as refused:
            recorder.prefer(stranger).result(10)
        words.add(str(refused.value).replace(stranger.comparison_id, "..."))
    assert len(words) == 1, "whether it exists is not told"
    with Reader(url) as reader:
        assert reader.counts()["live_preferences"] == 0


def test_another_experiments_comparison_is_unknown(url: str, recorder: LiveRecorder) -> None:
    recorder.compare(comparison()).result(10)
    with LiveRecorder(url, live_samples.experiment(name="another")) as other, pytest.raises(UnknownComparisonError):
        other.prefer(preference("a")).result(10)


def test_a_second_comparison_with_the_same_key_is_refused_whole(url: str, recorder: LiveRecorder) -> None:
    futures = [recorder.compare(comparison(name, idempotency_key="k")) for name in ("c1", "c2")]
    futures[0].result(10)
    with pytest.raises(DuplicateRequestError, match="a comparison of 'tester' with the key 'k'"):
        futures[1].result(10)
    recorder.compare(comparison("c3", idempotency_key="k", caller="another")).result(10)
    with LiveReader(url) as reader:
        assert reader.trial("c2-l") is None
        assert reader.trial("c3-l") is not None


def test_a_comparison_whose_trial_is_refused_leaves_no_trace_and_the_others_are_written(url: str, recorder: LiveRecorder) -> None:
    broken = dataclasses.replace(comparison("c1"), right=dataclasses.replace(side("c1-r", "baseline"), waited_ms=-1.0))
    refused, kept = recorder.compare(broken), recorder.compare(comparison("c2"))
    with pytest.raises(RecordRefusedError):
        refused.result(10)
    kept.result(10)
    with Reader(url) as reader:
        counts = reader.counts()
        assert (counts["live_comparisons"], counts["live_trials"]) == (1, 2)


def test_everything_said_at_once_is_there_once(url: str, recorder: LiveRecorder) -> None:
    for number in range(5):
        recorder.compare(comparison(f"c{number}", f"unit{number}")).result(10)
    said = [preference(f"k{key}", of=f"c{number}") for number in range(5) for key in range(4)] * 3
    random.Random(1).shuffle(said)
    outcomes = [future.result(10) for future in [recorder.prefer(each) for each in said]]
    assert (outcomes.count("recorded"), outcomes.count("repeated")) == (20, 40)
    with Reader(url) as reader:
        assert reader.counts()["live_preferences"] == 20


def test_texts_that_no_database_takes_are_kept_as_far_as_they_can_be(url: str, recorder: LiveRecorder) -> None:
    recorder.compare(comparison()).result(10)
    recorder.prefer(preference("a", comment="NUL \0 and half a pair \ud800, العربية")).result(10)
    with LiveReader(url) as reader:
        assert reader.preferences_of("c1")[0].comment == "NUL \ufffd and half a pair \ufffd, العربية"


def test_a_unit_is_erased_with_its_comparisons_and_preferences_and_others_keep_theirs(url: str, recorder: LiveRecorder) -> None:
    recorder.compare(comparison("c1", "ann")).result(10)
    recorder.compare(comparison("c2", "bob")).result(10)
    recorder.compare(comparison("c3", None)).result(10)
    for name in ("c1", "c2", "c3"):
        recorder.prefer(preference("a", of=name)).result(10)
    recorder.prefer(preference("b", of="c1")).result(10)
    counts = recorder.forget_unit("ann")
    assert (counts["trials"], counts["comparisons"], counts["preferences"]) == (2, 1, 2)
    with LiveReader(url) as reader:
        assert reader.comparison("c1") is None
        assert [reader.comparison(name) is not None for name in ("c2", "c3")] == [True, True]
        assert len(reader.preferences_of("c2")) == 1


def test_comments_past_their_time_are_erased_and_choices_stay(url: str, recorder: LiveRecorder) -> None:
    recorder.compare(comparison()).result(10)
    recorder.prefer(preference("a", "left", comment="my own words", at=START + 90)).result(10)
    recorder.prefer(preference("b", "right", comment="said later", at=START + 900)).result(10)
    recorder.forget_texts(before=START + 300)
    with LiveReader(url) as reader:
        assert [(each.choice, each.comment) for each in reader.preferences_of("c1")] == [("left", ""), ("right", "said later")]
        found = reader.comparison("c1")
        assert found is not None
        assert found.left.query.text is None


@pytest.mark.parametrize(
    "change",
    [
        {"right": side("r", "custom")},
        {"right": dataclasses.replace(side("r", "baseline"), query=live_samples.query("another"))},
        {"right": live_trial("r", "ann", "baseline")},
        {"right": dataclasses.replace(side("r", "baseline"), trial=live_samples.failed("baseline"))},
    ],
    ids=["one arm", "two queries", "counts in the split", "failed"],
)
def test_what_is_no_comparison_can_not_be_made(change: dict[str, LiveTrial]) -> None:
    with pytest.raises(ValueError, match="comparison 'c1'"):
        comparison(**change)
