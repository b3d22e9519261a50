"""Simulated users: who they are, what they ask, and what they make of an answer.

Nothing here knows an arm or speaks HTTP. What a user thinks of an answer comes from the truth (the gold set's relevant passages) and
from a planted taste, so that it is known beforehand what an analysis has to find.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.live_trial import Thumb
from ragtrial.errors import InputError

Taste = Literal["relevance", "none"]

_ACTIVITY_SIGMA = 1.0
_ON_TOPIC, _NEW_QUESTIONS = 0.7, 5
_VOLUNTEERS, _VOLUNTEERS_SIGMA, _VOLUNTEERS_MOST, _GRUMPY = 0.03, 0.8, 0.3, 2.5
_SOLICITED = 0.4
_HONEST, _CHANGED, _WITHDRAWN = 0.95, 0.06, 0.04
_SOURCE_VOTE = 0.03
_COPIES, _COPIES_ANYWAY = 0.3, 0.02
_LOOKED_AT, _CLICKS, _CLICKS_ANYWAY, _CLICKS_BLINDLY = 5, 0.35, 0.03, 0.1
_ASKS_AGAIN, MOST_FOLLOW_UPS = 0.35, 2
_COMMENTS = ("not what I asked", "wrong section", "too vague")

_FILLERS = "a an the do does did is are was were how what which who when where why can could should would we i my our it"
_OPENINGS = ("", "about", "need to know:", "question:", "please explain")

_PEOPLE, _VISITS, _BEHAVIOUR = 1, 2, 3  # streams of one seed, so that more queries don't change who the users are


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One simulated user.

    Attributes:
        unit: What the service is told; holds the seed, so that another seed's users are others.
        activity: How often this user comes, relative to the others.
        favours: Tag values (`topic=gate`) that most of the user's questions are about; empty where the gold set has no tags.
        volunteers: Chance to rate a good answer without being asked; higher for a bad one.
    """

    unit: str
    activity: float
    favours: tuple[str, ...]
    volunteers: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A user comes with something to ask.

    Attributes:
        number: From 0, in order of arrival.
        person: Who.
        query: What the user wants to know.
        text: How it is put: the gold query's words, or the user's own.
        due_s: When, in seconds from the start; 0 for all where nothing is said of the rate.
    """

    number: int
    person: Person
    query: Query
    text: str
    due_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenSource:
    """A source as a user sees it; the order on the page is the order in the reply."""

    passage_id: str
    cited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a user sees of an answer.

    Attributes:
        trial_id: What votes refer to.
        sources: Best first.
        abstained: The service said that it has no answer.
        solicited: It asked for a rating.
    """

    trial_id: str
    sources: tuple[SeenSource, ...]
    abstained: bool
    solicited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """One thumb, on the answer or on a source."""

    thumb: Thumb
    passage_id: str | None = None
    tags: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What a user does with an answer; votes in the order in which they are cast."""

    satisfied: bool
    copied: bool = False
    clicked: tuple[str, ...] = ()
    ballots: tuple[Ballot, ...] = ()
    asks_again: bool = False


def population(gold: GoldSet, *, n: int, seed: int) -> tuple[Person, ...]:
    """`n` users; their activity is log-normal, so that a few of them come often.

    Raises:
        InputError: No users, or nothing to ask.
    """
    if n < 1:
        raise InputError(f"--users is {n}: give at least 1")
    if not gold.queries:
        raise InputError(f"gold set {gold.name!r} has no queries, so users have nothing to ask")
    tags = sorted({_tag(name, value) for query in gold.queries for name, value in query.tags.items()})
    return tuple(_person(number, tags, seed) for number in range(n))


def _person(number: int, tags: Sequence[str], seed: int) -> Person:
    rng = np.random.default_rng([seed, _PEOPLE, number])
    n_favoured = min(len(tags), int(rng.integers(1, 4)))
    return Person(
        unit=f"sim-{seed}-{number:05d}",
        activity=float(rng.lognormal(0.0, _ACTIVITY_SIGMA)),
        favours=tuple(tags[position] for position in rng.choice(len(tags), n_favoured, replace=False)) if tags else (),
        volunteers=min(_VOLUNTEERS_MOST, _VOLUNTEERS * float(rng.lognormal(0.0, _VOLUNTEERS_SIGMA))),
    )


def visits(
    people: Sequence[Person], gold: GoldSet, *, n: int, seed: int, own_words: float = 0.0, rate: float | None = None
) -> Iterator[Visit]:
    """`n` visits in order of arrival: the same seed gives the same users, questions and words, however fast they are sent.

    Args:
        people: From `population`.
        gold: What is asked.
        n: How many visits.
        seed: Of every random step.
        own_words: Share of the questions that are put in the user's own words; these are no gold queries to the service.
        rate: Visits a second, as a Poisson process; None leaves the pace to whoever sends them.
    """
    rng = np.random.default_rng([seed, _VISITS])
    activity = np.array([person.activity for person in people])
    coming = rng.choice(len(people), size=n, p=activity / activity.sum())
    due = np.zeros(n) if rate is None else np.cumsum(np.random.default_rng([seed, _VISITS, 1]).exponential(1 / rate, size=n))
    by_tag: dict[str, list[Query]] = {}
    for query in gold.queries:
        for name, value in query.tags.items():
            by_tag.setdefault(_tag(name, value), []).append(query)
    asked: dict[str, set[str]] = {}
    for number in range(n):
        person = people[coming[number]]
        query = _wanted(person, gold, by_tag, asked.setdefault(person.unit, set()), rng)
        text = reworded(query.text, rng) if rng.random() < own_words else query.text
        yield Visit(number=number, person=person, query=query, text=text, due_s=float(due[number]))


def _wanted(person: Person, gold: GoldSet, by_tag: Mapping[str, Sequence[Query]], asked: set[str], rng: np.random.Generator) -> Query:
    """What a user wants to know: mostly on a favoured topic, and mostly nothing that this user has asked before."""
    for _ in range(_NEW_QUESTIONS):
        favoured = person.favours and rng.random() < _ON_TOPIC
        among = by_tag[person.favours[int(rng.integers(len(person.favours)))]] if favoured else gold.queries
        query = among[int(rng.integers(len(among)))]
        if query.query_id not in asked:
            break
    asked.add(query.query_id)
    return query


def behaviour(visit: Visit, *, seed: int) -> np.random.Generator:
    """The randomness of all that a user does on one visit; it depends on no other visit, so the order of answers changes nothing."""
    return np.random.default_rng([seed, _BEHAVIOUR, visit.number])


def reworded(text: str, rng: np.random.Generator) -> str:
    """The same question in other words: fillers dropped, halves swapped or not, another opening; never the text as it was."""
    words, fillers = text.rstrip("?.! ").split(), _FILLERS.split()
    kept = [word for word in words if word.casefold().strip(",;:") not in fillers] or words
    if rng.random() < 0.5 and len(kept) > 3:
        middle = len(kept) // 2
        kept = [*kept[middle:], *kept[:middle]]
    other = " ".join([_OPENINGS[int(rng.integers(len(_OPENINGS)))], *kept]).strip()
    return other if other.casefold() != " ".join(text.split()).casefold() else f"{_OPENINGS[1]} {other}"


def react(
    person: Person, reply: Reply, grades: Mapping[str, int], *, taste: Taste, rng: np.random.Generator, follow_ups: int = 0
) -> Reaction:
    """What the user does with an answer.

    Args:
        person: Who reads it.
        reply: The answer.
        grades: The truth: grades of the passages for what the user wants to know; above 0 is relevant.
        taste: `relevance`: the higher the first relevant source stands, the more often the user is satisfied. `none`: users behave alike
            whatever they get, so that nothing they do may differ between two arms.
        rng: From `behaviour`.
        follow_ups: How often the user has asked again already; after `MOST_FOLLOW_UPS` a user gives up.
    """
    blind = taste == "none"
    satisfied = bool(rng.random() < (0.5 if blind else 0.1 + 0.8 * worth(reply, grades)))
    relevant = {source.passage_id for source in reply.sources if grades.get(source.passage_id, 0) > 0}
    clicked = []
    for source in reply.sources[:_LOOKED_AT]:
        chance = _CLICKS_BLINDLY if blind else _CLICKS if source.passage_id in relevant else _CLICKS_ANYWAY
        if rng.random() < chance:
            clicked.append(source.passage_id)
    return Reaction(
        satisfied=satisfied,
        copied=bool(rng.random() < (_COPIES if satisfied else _COPIES_ANYWAY)),
        clicked=tuple(clicked),
        ballots=(*_answer_ballots(person, reply, satisfied, rng), *_source_ballots(reply, relevant, rng, blind=blind)),
        asks_again=bool(rng.random() < _ASKS_AGAIN) and not satisfied and follow_ups < MOST_FOLLOW_UPS,
    )


def worth(reply: Reply, grades: Mapping[str, int]) -> float:
    """What an answer is worth to a user who cares, from 0 to 1.

    The reciprocal rank of the first relevant source, less where none is cited, and half where the service abstained.
    """
    ranks = [rank for rank, source in enumerate(reply.sources, start=1) if grades.get(source.passage_id, 0) > 0]
    if not ranks:
        return 0.0
    cited = any(reply.sources[rank - 1].cited for rank in ranks)
    return 1 / ranks[0] * (1.0 if cited else 0.8) * (0.5 if reply.abstained else 1.0)


def _answer_ballots(person: Person, reply: Reply, satisfied: bool, rng: np.random.Generator) -> tuple[Ballot, ...]:
    """Volunteers rate when they like, the dissatisfied more often; who is asked rates with one probability, satisfied or not."""
    chance = _SOLICITED if reply.solicited else person.volunteers * (1.0 if satisfied else _GRUMPY)
    rates, honest, change, comment = rng.random(4)
    if rates >= chance:
        return ()
    up = satisfied == (honest < _HONEST)
    first = _thumb(up=up, comment=_COMMENTS[int(comment * 10)] if comment * 10 < len(_COMMENTS) else "")
    if change < _CHANGED:
        return first, _thumb(up=not up)
    if change < _CHANGED + _WITHDRAWN:
        return first, Ballot(thumb="withdrawn")
    return (first,)


def _thumb(*, up: bool, comment: str = "") -> Ballot:
    return Ballot(thumb="up") if up else Ballot(thumb="down", tags=("not helpful",), comment=comment)


def _source_ballots(reply: Reply, relevant: set[str], rng: np.random.Generator, *, blind: bool) -> tuple[Ballot, ...]:
    votes, position, coin = rng.random(3)
    if votes >= _SOURCE_VOTE or not reply.sources:
        return ()
    looked_at = reply.sources[:_LOOKED_AT]
    passage_id = looked_at[int(position * len(looked_at))].passage_id
    up = coin < 0.5 if blind else passage_id in relevant
    return (Ballot(thumb="up" if up else "down", passage_id=passage_id, tags=() if up else ("wrong source",)),)


def _tag(name: str, value: str) -> str:
    return f"{name}={value}"
