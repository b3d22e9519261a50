"""Simulated users: who they are, what they ask, and what they make of an answer."""

from collections import Counter

import numpy as np
import pytest

from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.errors import InputError
from ragtrial.suite.traffic_users import (
    MOST_FOLLOW_UPS,
    Person,
    Reaction,
    Reply,
    SeenSource,
    Taste,
    population,
    react,
    reworded,
    visits,
    worth,
)

QUERIES = tuple(Query(query_id=f"q{n}", text=f"where does the crane number {n} stand?", tags={"topic": f"t{n % 4}"}) for n in range(40))
GOLD = GoldSet(
    name="cranes", queries=QUERIES, judgments=tuple(Judgment(query_id=q.query_id, target_id=f"p-{q.query_id}", grade=2) for q in QUERIES)
)
SOMEBODY = Person(unit="sim-1-00000", activity=1.0, favours=(), volunteers=0.05)


def reply(*passage_ids: str, cited: int | None = 0, solicited: bool = False, abstained: bool = False) -> Reply:
    sources = tuple(SeenSource(passage_id=passage_id, cited=position == cited) for position, passage_id in enumerate(passage_ids))
    return Reply(trial_id="trial_1", sources=sources, abstained=abstained, solicited=solicited)


def reactions(answer: Reply, *, taste: Taste = "relevance", n: int = 4000, person: Person = SOMEBODY) -> list[Reaction]:
    rng = np.random.default_rng(5)
    return [react(person, answer, {"good": 2}, taste=taste, rng=rng) for _ in range(n)]


def share(answer: Reply, what: str, **options: object) -> float:
    return float(np.mean([bool(getattr(one, what)) for one in reactions(answer, **options)]))  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_users_and_questions() -> None:
    again = [list(visits(population(GOLD, n=20, seed=3), GOLD, n=100, seed=3, own_words=0.3)) for _ in range(2)]
    assert again[0] == again[1]
    other = list(visits(population(GOLD, n=20, seed=4), GOLD, n=100, seed=4, own_words=0.3))
    assert [visit.text for visit in other] != [visit.text for visit in again[0]]
    assert not {visit.person.unit for visit in other} & {visit.person.unit for visit in again[0]}


def test_more_questions_or_another_pace_change_nothing_about_the_users_and_who_comes_when() -> None:
    people = population(GOLD, n=20, seed=3)
    slow = list(visits(people, GOLD, n=50, seed=3, rate=2.0))
    fast = list(visits(people, GOLD, n=50, seed=3))
    assert [(visit.person, visit.text) for visit in slow] == [(visit.person, visit.text) for visit in fast]
    assert population(GOLD, n=40, seed=3)[:20] == people


def test_arrivals_are_a_poisson_process_of_the_asked_rate() -> None:
    due = np.array([visit.due_s for visit in visits(population(GOLD, n=20, seed=3), GOLD, n=4000, seed=3, rate=8.0)])
    gaps = np.diff(due)
    assert np.mean(gaps) == pytest.approx(1 / 8, rel=0.06)
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.06)  # exponential: mean and spread are equal


def test_a_few_users_come_often() -> None:
    came = Counter(visit.person.unit for visit in visits(population(GOLD, n=300, seed=3), GOLD, n=6000, seed=3))
    busiest = sum(n for _, n in came.most_common(30))
    assert 0.3 < busiest / 6000 < 0.6  # the tenth that comes most often; 0.1 if all came alike, 0.39 is the log-normal's own share


def test_users_mostly_ask_about_what_they_favour() -> None:
    people = population(GOLD, n=50, seed=3)
    asked = list(visits(people, GOLD, n=3000, seed=3))
    on_topic = np.mean([f"topic={visit.query.tags['topic']}" in visit.person.favours for visit in asked])
    assert 0.75 < on_topic < 0.95  # 0.7, and of the others those that hit it by chance: one to three of four topics are favoured


def test_a_gold_set_without_tags_is_asked_evenly() -> None:
    plain = GoldSet(name="plain", queries=tuple(Query(query_id=f"q{n}", text=f"what is {n}") for n in range(10)), judgments=())
    asked = Counter(visit.query.query_id for visit in visits(population(plain, n=5, seed=1), plain, n=5000, seed=1))
    assert min(asked.values()) > 400


def test_nothing_to_ask_and_nobody_to_ask_it_are_refused() -> None:
    with pytest.raises(InputError, match="nothing to ask"):
        population(GoldSet(name="empty", queries=(), judgments=()), n=5, seed=1)
    with pytest.raises(InputError, match="--users is 0"):
        population(GOLD, n=0, seed=1)


@pytest.mark.parametrize("text", ["where does the crane stand?", "why", "Crane 7", "the the the", "ETA of MSC Anna?  and berth"])
def test_other_words_are_never_the_words_themselves(text: str) -> None:
    rng = np.random.default_rng(1)
    plain = " ".join(text.casefold().split())
    for _ in range(200):
        other = reworded(text, rng)
        assert " ".join(other.casefold().split()) != plain
        assert other.strip()


def test_other_words_keep_what_is_asked_for() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert {"crane", "number", "7", "stand"} <= set(reworded("where does the crane number 7 stand?", rng).split())


def test_an_answer_is_worth_the_reciprocal_rank_of_its_first_relevant_source() -> None:
    assert worth(reply("good", "bad"), {"good": 2}) == 1.0
    assert worth(reply("bad", "good", cited=1), {"good": 1}) == 0.5
    assert worth(reply("bad", "good", cited=0), {"good": 1}) == pytest.approx(0.4)
    assert worth(reply("good", abstained=True), {"good": 1}) == 0.5
    assert worth(reply("bad"), {"good": 1, "bad": 0}) == 0.0
    assert worth(reply(), {"good": 1}) == 0.0


def test_better_answers_satisfy_more_and_are_copied_and_clicked_more() -> None:
    first, third, none = reply("good", "b", "c"), reply("a", "b", "good", cited=2), reply("a", "b", "c")
    assert share(first, "satisfied") == pytest.approx(0.9, abs=0.02)
    assert share(third, "satisfied") == pytest.approx(0.1 + 0.8 / 3, abs=0.03)
    assert share(none, "satisfied") == pytest.approx(0.1, abs=0.02)
    assert share(first, "copied") > 2 * share(none, "copied")
    assert share(first, "clicked") > 2 * share(none, "clicked")
    assert share(none, "asks_again") > 2 * share(first, "asks_again")


@pytest.mark.parametrize("what", ["satisfied", "copied", "clicked", "asks_again"])
def test_users_without_taste_behave_alike_whatever_they_get(what: str) -> None:
    assert share(reply("good", "b", "c"), what, taste="none") == share(reply("a", "b", "c"), what, taste="none")


def test_users_without_taste_vote_alike_whatever_they_get() -> None:
    good = [[ballot.thumb for ballot in one.ballots] for one in reactions(reply("good", "b", solicited=True), taste="none")]
    assert good == [[ballot.thumb for ballot in one.ballots] for one in reactions(reply("a", "b", solicited=True), taste="none")]


def test_the_dissatisfied_volunteer_more_and_the_asked_rate_alike() -> None:
    def rated(solicited: bool) -> dict[bool, float]:
        found = reactions(reply("a", "good", cited=1, solicited=solicited), n=20_000)
        return {
            satisfied: float(
                np.mean([any(ballot.passage_id is None for ballot in one.ballots) for one in found if one.satisfied is satisfied])
            )
            for satisfied in (True, False)
        }

    volunteers, asked = rated(False), rated(True)
    assert volunteers[True] == pytest.approx(0.05, abs=0.01)
    assert volunteers[False] == pytest.approx(0.125, abs=0.015)
    assert asked[True] == pytest.approx(0.4, abs=0.015)
    assert asked[False] == pytest.approx(asked[True], abs=0.02)


def test_some_votes_are_changed_and_some_withdrawn() -> None:
    votes = [[b.thumb for b in one.ballots if b.passage_id is None] for one in reactions(reply("good", solicited=True), n=10_000)]
    cast = [vote for vote in votes if vote]
    assert np.mean([len(vote) == 2 and vote[1] != "withdrawn" for vote in cast]) == pytest.approx(0.06, abs=0.015)
    assert np.mean([vote[-1] == "withdrawn" for vote in cast]) == pytest.approx(0.04, abs=0.012)
    assert all(set(vote) <= {"up", "down"} and vote[0] != vote[1] for vote in cast if len(vote) == 2 and vote[1] != "withdrawn")


def test_sources_get_votes_that_follow_the_truth() -> None:
    on_sources = [ballot for one in reactions(reply("good", "bad"), n=10_000) for ballot in one.ballots if ballot.passage_id is not None]
    assert {(ballot.passage_id, ballot.thumb) for ballot in on_sources} == {("good", "up"), ("bad", "down")}


def test_a_user_gives_up_in_the_end() -> None:
    rng = np.random.default_rng(2)
    tired = [react(SOMEBODY, reply("a"), {}, taste="relevance", rng=rng, follow_ups=MOST_FOLLOW_UPS) for _ in range(500)]
    assert not any(one.asks_again for one in tired)
