"""What users said, turned into pairs: whose word counts, for which passage, and what stays out."""

import dataclasses
from collections.abc import Sequence

import pytest

from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.live import Assignment
from ragtrial.domain.live_trial import Thumb, Vote
from ragtrial.domain.pair import Pair
from ragtrial.domain.trial import Trial
from ragtrial.domain.voted_trial import VotedTrial
from ragtrial.finetuning import votes
from ragtrial.finetuning.gathering import Gathered
from ragtrial.finetuning.votes import VoteRules, vote_pairs
from unit.db.live_samples import answered, counted, failed, live_trial, query

CORPUS = Corpus(
    name="c",
    passages=tuple(Passage(passage_id=f"p{n}", document_id=f"d{n}", text=f"text {n}", start=0, end=6) for n in range(1, 6)),
)
RULES = VoteRules(consent="terms, section 4", solicit={1: 0.05})


def said(
    number: int,
    thumb: Thumb,
    *more: Vote,
    user: str | None = "ann",
    asked: str = "What opens the gate?",
    made: Trial | None = None,
    arm: str = "baseline",
    tags: tuple[str, ...] = (),
    at: float | None = None,
    assignment: Assignment | None = None,
) -> VotedTrial:
    """A trial with a vote on its answer; its ranking is p3, p1, and it cites p1."""
    trial = live_trial(f"t{number}", user, arm, made=made or answered(arm), assignment=assignment)
    vote = Vote(trial_id=f"t{number}", key="k", thumb=thumb, tags=tags, at=100.0 * number if at is None else at)
    return VotedTrial(live_id=1, trial=dataclasses.replace(trial, query=query(asked)), votes=(vote, *more))


def on(passage_id: str, thumb: Thumb, at: float = 999.0) -> Vote:
    return Vote(trial_id="t", key=f"{passage_id}-{thumb}-{at}", thumb=thumb, passage_id=passage_id, at=at)


def made_of(*voted: VotedTrial, judged: Sequence[Pair] = (), rules: VoteRules = RULES) -> Gathered:
    return vote_pairs(voted, CORPUS, judged, rules)


def summary(gathered: Gathered) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(pair.query, pair.passage_id, pair.negatives) for pair in gathered.pairs]


def test_an_answer_voted_up_speaks_for_what_it_cites_and_else_for_the_first_passage() -> None:
    found = made_of(said(1, "up"), said(2, "up", asked="Other?", made=answered("baseline", cited=())))
    assert summary(found) == [("What opens the gate?", "p1", ()), ("Other?", "p3", ())]
    assert [pair.provenance["positive"] for pair in found.pairs] == [["cited"], ["first passage"]]


def test_what_another_user_voted_down_is_a_hard_negative_of_a_query_that_has_a_positive() -> None:
    found = made_of(said(1, "up"), said(2, "down", user="bob", made=answered("custom", cited=("p4",)), arm="custom"))
    assert summary(found) == [("What opens the gate?", "p1", ("text 4",))]
    alone = made_of(said(2, "down", user="bob", made=answered("custom", cited=("p4",))))
    assert (alone.pairs, alone.left_out) == ((), {votes.NO_POSITIVE: 1})


def test_a_judgment_can_be_the_positive() -> None:
    judged = Pair(query="what opens the GATE", passage="judged text", passage_id="j", document_id="j")
    found = made_of(said(1, "down"), judged=[judged])
    assert summary(found) == [("what opens the GATE", "j", ("text 1",))]
    assert found.pairs[0].origin == "vote"
    same = dataclasses.replace(judged, passage="text 1")
    assert made_of(said(1, "down"), judged=[same]).pairs == (), "a passage that was judged relevant is no negative"


def test_the_provenance_counts_users_and_notes_consent_arm_propensity_and_solicitation() -> None:
    asked = said(2, "up", user="bob", arm="custom", assignment=counted("bob", "custom", propensity=0.25))
    asked = dataclasses.replace(asked, trial=dataclasses.replace(asked.trial, solicited=True))
    found = made_of(said(1, "up"), asked, said(3, "down", user="cyd"))
    provenance = found.pairs[0].provenance
    assert provenance["consent"] == "terms, section 4"
    assert (provenance["users_up"], provenance["users_down"], provenance["trials"]) == (2, 1, ["t1", "t2", "t3"])
    assert provenance["arms"] == {"baseline": {"votes": 2, "propensity": [0.5]}, "custom": {"votes": 1, "propensity": [0.25]}}
    assert (provenance["solicited"], provenance["solicited_share"]) == (1, [0.05])
    assert found.facts["users behind the pairs"] == 3
    assert not any("ann" in str(value) or str(asked.trial.unit) in str(value) for value in provenance.values()), "nobody is named"


def test_the_last_vote_counts_and_one_that_was_withdrawn_does_not() -> None:
    turned = said(1, "up", Vote(trial_id="t1", key="k2", thumb="down", at=101.0))
    assert made_of(turned).left_out == {votes.NO_POSITIVE: 1}
    taken_back = said(1, "up", Vote(trial_id="t1", key="k2", thumb="withdrawn", at=101.0))
    assert (made_of(taken_back).pairs, made_of(taken_back).left_out) == ((), {votes.WITHDRAWN: 1})
    again = made_of(said(1, "down", at=5.0), said(2, "up", at=9.0))
    assert summary(again) == [("What opens the gate?", "p1", ())], "of the same user on the same passage, what came last"
    assert again.pairs[0].provenance["users_down"] == 0


def test_a_vote_on_a_source_goes_before_the_vote_on_the_answer() -> None:
    found = made_of(said(1, "down", on("p1", "up"), on("p3", "down")))
    assert summary(found) == [("What opens the gate?", "p1", ("text 3",))]


def test_users_who_disagree_leave_no_pair() -> None:
    found = made_of(said(1, "up"), said(2, "down", user="bob"))
    assert (found.pairs, found.left_out) == ((), {votes.DISAGREE: 1})


def test_blame_for_anything_else_than_sources_makes_no_negative() -> None:
    for tags, reason in (
        (("hard to read",), votes.OTHER_FAULT),
        (("incomplete", "wrong source"), votes.NO_POSITIVE),
        ((), votes.NO_POSITIVE),
    ):
        assert made_of(said(1, "down", tags=tags)).left_out == {reason: 1}


def test_one_user_gives_no_more_than_the_cap_and_the_newest_count() -> None:
    rules = dataclasses.replace(RULES, cap=2)
    found = made_of(*[said(number, "up", asked=f"question {number}") for number in (3, 1, 5, 2)], said(9, "up", user="bob"), rules=rules)
    assert {pair.query for pair in found.pairs} == {"question 3", "question 5", "What opens the gate?"}
    assert found.left_out == {votes.OVER_CAP: 2}


def test_more_users_may_be_asked_for() -> None:
    rules = dataclasses.replace(RULES, least_users=2)
    found = made_of(said(1, "up"), said(2, "up", user="bob"), said(3, "up", asked="Other?"), rules=rules)
    assert summary(found) == [("What opens the gate?", "p1", ())]
    assert found.left_out == {votes.TOO_FEW: 1}


@pytest.mark.parametrize(
    ("voted", "reason"),
    [
        (said(1, "up", user=None), votes.NO_USER),
        (said(1, "up", made=failed("baseline")), votes.FAILED),
        (said(1, "up", made=answered("baseline", text="")), votes.ABSTAINED),
        (said(1, "down", made=answered("baseline", cited=())), votes.NOTHING_CITED),
        (said(1, "up", made=answered("baseline", passages=("p9",), cited=("p9",))), votes.GONE),
        (said(1, "up", assignment=Assignment(unit=None, arm="baseline", reason="denied", version=1)), votes.DENIED),
    ],
)
def test_what_can_not_be_used_is_counted(voted: VotedTrial, reason: str) -> None:
    found = made_of(voted)
    assert (found.pairs, found.left_out) == ((), {reason: 1})


def test_a_query_that_is_kept_as_a_hash_is_counted_and_not_guessed() -> None:
    whole = said(1, "up")
    hashed = dataclasses.replace(whole.trial, query=dataclasses.replace(whole.trial.query, text=None, stored="hash"))
    found = made_of(dataclasses.replace(whole, trial=hashed))
    assert (found.pairs, found.left_out) == ((), {votes.HASHED: 1})


def test_without_consent_there_are_no_rules() -> None:
    with pytest.raises(ValueError, match="only where users agreed"):
        VoteRules(consent=" ", solicit={})
