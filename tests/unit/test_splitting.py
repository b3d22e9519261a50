"""The split: what is decided in which order, and what operators can change without moving anybody."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtrial.domain.live import N_BUCKETS, TrafficState
from ragtrial.drafting import team_draft
from ragtrial.errors import InputError
from ragtrial.formats.experiment import parse_experiment
from ragtrial.splitting import Split, bucket_of, counts, drawn, initial_state, pseudonym

UNITS = [f"user-{number}" for number in range(3000)]

units = st.text(min_size=1)
shares = st.floats(0, 1)
parts = st.floats(0, 1, exclude_min=True, exclude_max=True)
states = st.builds(TrafficState, version=st.just(3), share=shares, treatment=parts)


def experiment(**live):
    primary = {"name": "preference" if live.get("mode") == "interleaved" else "nDCG@10", "min_effect": 0.01}
    name = live.pop("name", "tariffs")
    arm = {"provider": "hashing", "dimensions": 32}
    content = {
        "name": name,
        "data": {"format": "beir", "path": "corpus"},
        "arms": [
            {"name": "baseline", "role": "control", "embedding": {**arm, "model": "a"}},
            {"name": "custom", "role": "treatment", "embedding": {**arm, "model": "b"}},
        ],
        "metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}},
        "live": {"metrics": {"primary": primary}, **live},
    }
    return parse_experiment(json.dumps(content, ensure_ascii=False))


def split(**live):
    return Split.of(experiment(**live))


def state(share=1.0, treatment=0.5, *, stopped=False, version=1):
    return TrafficState(version=version, share=share, treatment=treatment, stopped=stopped)


def unit_in_bucket(low, high, salt="tariffs"):
    return next(unit for unit in UNITS if low <= bucket_of(salt, unit) < high)


def arms_of(given_split, given_state):
    return {unit: assigned.arm for unit in UNITS if (assigned := given_split.assign(unit, given_state)).counted}


@given(units, states)
def test_the_same_unit_always_gets_the_same(unit, traffic):
    assert split().assign(unit, traffic) == split().assign(unit, traffic)


@given(units)
def test_every_unit_has_a_bucket(unit):
    assert 0 <= bucket_of("tariffs", unit) < N_BUCKETS


@pytest.mark.parametrize("unit", [" ", "\n", "\x00", "日本語", "🦊", "x" * 1_000_000, "half \ud83e", "'; DROP TABLE units; --"])
def test_odd_units_are_units(unit):
    assigned = split().assign(unit, state())
    assert (assigned.unit, assigned.reason, assigned.bucket) == (unit, "split", bucket_of("tariffs", unit))


def test_half_a_surrogate_pair_is_hashed_as_browsers_do():
    assert bucket_of("tariffs", "a\ud83eb") == bucket_of("tariffs", "a\ufffdb")
    assert bucket_of("tariffs", "\ud83e\udd8a") == bucket_of("tariffs", "🦊")


def test_two_spellings_are_two_units():
    assert bucket_of("tariffs", "José") != bucket_of("tariffs", "Jose\u0301")
    assert bucket_of("tariffs", "user-1") != bucket_of("tariffs", "user-1 ")


@given(states, shares)
def test_a_ramp_never_takes_a_unit_out_of_its_arm(before, share):
    after = TrafficState(version=4, share=max(share, before.share), treatment=before.treatment)
    # An arm takes the first or the last buckets, so it keeps its units if and only if it does not shrink.
    assert all(grown >= was for grown, was in zip(counts(after), counts(before), strict=True))


@given(states, parts)
def test_a_larger_treatment_share_never_takes_a_unit_out_of_the_treatment(before, treatment):
    after = TrafficState(version=4, share=before.share, treatment=max(treatment, before.treatment))
    assert counts(after)[1] >= counts(before)[1]


@given(states)
def test_the_arms_buckets_add_up_to_the_share(traffic):
    assert sum(counts(traffic)) == math.floor(traffic.share * N_BUCKETS + 0.5)
    assert min(counts(traffic)) >= 0


def test_units_keep_their_arm_through_a_whole_ramp():
    ramp = [arms_of(split(), state(share, version=n)) for n, share in enumerate((0.01, 0.05, 0.123, 0.5, 0.77, 1.0), start=1)]
    assert all(before.items() <= after.items() for before, after in itertools.pairwise(ramp))
    assert len(ramp[-1]) == len(UNITS)


def test_the_arms_get_the_planned_shares_with_the_propensity_said():
    traffic = state(0.4, 0.25)
    assigned = [split().assign(unit, traffic) for unit in UNITS]
    treated = [each for each in assigned if each.arm == "custom"]
    controls = [each for each in assigned if each.counted and each.arm == "baseline"]
    assert {each.propensity for each in treated} == {0.25}
    assert {each.propensity for each in controls} == {0.75}
    assert len(treated) == pytest.approx(300, abs=4 * math.sqrt(300 * 0.9))
    assert len(controls) == pytest.approx(900, abs=4 * math.sqrt(900 * 0.7))
    assert {each.reason for each in assigned if not each.counted} == {"outside"}
    assert {each.arm for each in assigned if not each.counted} == {"baseline"}


@pytest.mark.parametrize("unit", [None, ""])
def test_a_request_without_a_unit_gets_the_baseline_and_is_not_counted(unit):
    assigned = split().assign(unit, state(), override="custom")
    assert (assigned.arm, assigned.reason, assigned.counted, assigned.unit, assigned.bucket) == ("baseline", "no unit", False, None, None)


def test_a_stop_gives_everyone_the_baseline():
    assigned = [split().assign(unit, state(stopped=True)) for unit in UNITS[:50]]
    assert {(each.arm, each.reason) for each in assigned} == {("baseline", "stopped")}


def test_testers_get_the_arm_they_ask_for_even_when_stopped():
    planned = split(overrides={"tester": "custom"})
    for assigned in (planned.assign("tester", state(stopped=True)), planned.assign("user-1", state(0.0), override="custom")):
        assert (assigned.arm, assigned.reason, assigned.counted, assigned.propensity) == ("custom", "override", False, None)


def test_an_override_to_an_arm_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="there is no arm 'costum': ask for 'baseline' or 'custom'"):
        split().assign("user-1", state(), override="costum")


def test_denied_units_never_take_part():
    assert split(deny=["user-1"]).assign("user-1", state()).reason == "denied"


def test_with_an_allow_list_only_its_units_take_part():
    planned = split(allow=["user-1"])
    assert [planned.assign(unit, state()).reason for unit in ("user-1", "user-2")] == ["split", "denied"]


def test_a_holdout_is_the_same_for_every_experiment():
    one, other = split(name="one", holdout=0.1), split(name="other", holdout=0.1)
    held = {unit for unit in UNITS if one.assign(unit, state()).reason == "holdout"}
    assert held == {unit for unit in UNITS if other.assign(unit, state()).reason == "holdout"}
    assert len(held) == pytest.approx(300, abs=4 * math.sqrt(300 * 0.9))


def test_experiments_in_other_parts_of_a_layer_never_take_the_same_unit():
    one = arms_of(split(name="one", layer={"name": "answers", "first": 0, "end": 4000}), state())
    other = arms_of(split(name="other", layer={"name": "answers", "first": 4000, "end": 10_000}), state())
    assert not one.keys() & other.keys()
    assert one.keys() | other.keys() == set(UNITS)


def test_in_mode_shadow_everyone_who_takes_part_gets_the_baseline_and_is_counted():
    assigned = [split(mode="shadow").assign(unit, state(0.5)) for unit in UNITS[:200]]
    assert {(each.arm, each.reason, each.propensity) for each in assigned} == {("baseline", "split", 1.0), ("baseline", "outside", None)}


def test_in_mode_interleaved_everyone_who_takes_part_gets_both():
    assigned = [split(mode="interleaved").assign(unit, state(0.5)) for unit in UNITS[:200]]
    assert {(each.arm, each.reason, each.propensity) for each in assigned} == {("interleaved", "split", 1.0), ("baseline", "outside", None)}


def test_the_assignment_says_under_which_version_of_the_traffic_it_was_made():
    assert split().assign("user-1", state(version=7)).version == 7


def test_traffic_begins_as_planned():
    first = initial_state(experiment(traffic={"share": 0.1, "treatment": 0.3}))
    assert (first.version, first.share, first.treatment, first.stopped, first.actor) == (1, 0.1, 0.3, False, "plan")


def test_the_salt_decides_the_split_and_its_default_is_the_name():
    assert arms_of(split(salt="tariffs"), state()) == arms_of(split(), state())
    assert arms_of(split(salt="second try"), state()) != arms_of(split(), state())


def test_a_salt_that_is_also_the_holdouts_or_the_layers_is_refused():
    with pytest.raises(InputError, match="splits and holds out with the same salt 'holdout'"):
        split(name="holdout", holdout=0.1)
    with pytest.raises(InputError, match=r"has the salt of its layer, 'layer\.answers'"):
        split(salt="layer.answers", layer={"name": "answers", "first": 0, "end": 10})


def test_an_experiment_that_is_not_live_has_no_split():
    offline = replace(experiment(), live=None)
    for ask in (Split.of, initial_state):
        with pytest.raises(InputError, match="experiment 'tariffs' has no 'live' section"):
            ask(offline)


@given(units, shares, shares)
def test_a_larger_sample_only_adds_keys(key, one, other):
    small, large = sorted((one, other))
    assert drawn("solicit", key, large) >= drawn("solicit", key, small)


def test_a_sample_of_everything_has_everything_and_one_of_nothing_nothing():
    assert all(drawn("solicit", unit, 1.0) for unit in UNITS)
    assert not any(drawn("solicit", unit, 0.0) for unit in UNITS)


def test_a_pseudonym_is_the_same_everywhere_and_shows_nothing_of_the_unit():
    assert pseudonym("jane@example.com") == pseudonym("jane@example.com") != pseudonym("jane@example.org")
    assert len(pseudonym("jane")) == 32
    assert set(pseudonym("jane")) <= set("0123456789abcdef")


rankings = st.lists(st.sampled_from("abcdefgh"), max_size=8, unique=True)


@given(rankings, rankings, st.integers(0, 12), st.integers(0, 1000))
def test_a_draft_holds_each_passage_once_and_as_many_as_there_are(control, treatment, length, seed):
    drafted = team_draft(control, treatment, length=length, rng=np.random.default_rng(seed))
    passages = [passage for passage, _ in drafted]
    assert len(set(passages)) == len(passages) == min(length, len({*control, *treatment}))
    teams = [team for _, team in drafted]
    assert abs(teams.count("control") - teams.count("treatment")) <= 1
    assert all(passage in control for passage, team in drafted if team != "treatment" and team != "both")
    assert all(passage in treatment for passage, team in drafted if team == "treatment")


@given(rankings, st.integers(0, 8))
def test_equal_rankings_give_themselves_and_credit_nobody(ranking, length):
    drafted = team_draft(ranking, ranking, length=length, rng=np.random.default_rng(0))
    assert drafted == tuple((passage, "both") for passage in ranking[:length])


def test_both_teams_begin_as_often_and_pick_their_best():
    rng = np.random.default_rng(0)
    drafts = {team_draft(["a", "b"], ["x", "y"], length=2, rng=rng) for _ in range(100)}
    assert drafts == {(("a", "control"), ("x", "treatment")), (("x", "treatment"), ("a", "control"))}


def test_a_draft_of_a_negative_length_is_refused():
    with pytest.raises(ValueError, match="length is -1"):
        team_draft(["a"], ["b"], length=-1, rng=np.random.default_rng(0))
