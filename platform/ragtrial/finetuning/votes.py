"""Pairs from what users of the live service said: thumbs up as positives, sources of answers that were voted down as hard negatives.

A vote is about an answer, and a pair is about a passage: the step from one to the other is taken only where the answer cites its
sources, or its user voted on a source. Who votes is no random sample (`stats.votes`), so each pair says how many users stand behind it,
which arm answered, with which chance that arm was drawn, and how many of the votes were asked for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragtrial.domain.corpus import Corpus
from ragtrial.domain.live_trial import Vote
from ragtrial.domain.pair import Pair
from ragtrial.domain.voted_trial import VotedTrial
from ragtrial.finetuning.gathering import Gathered
from ragtrial.finetuning.leakage import normalise

NO_USER = "trials voted on by nobody who can be told from others"
DENIED = "trials of users who never take part (live.deny)"
HASHED = "trials whose query is kept as a hash only"
WITHDRAWN = "votes that were withdrawn"
FAILED = "votes on a trial that failed"
ABSTAINED = "votes on an answer that abstained"
NOTHING_CITED = "votes down on an answer that cites nothing"
OTHER_FAULT = "votes down for another fault than its sources"
OTHER_CORPUS = "trials over another corpus than today's"
GONE = "passages that are not in the corpus any more"
OVER_CAP = "opinions of a user beyond the cap"
TOO_FEW = "query and passage that too few users speak for"
DISAGREE = "query and passage on which users disagree"
NO_POSITIVE = "passages voted down for a query that has no positive"

_ABOUT_SOURCES = frozenset({"wrong", "wrong source"})
"""Tags of a vote down that blame the sources; `incomplete`, `outdated` and `hard to read` say nothing against them."""


@dataclass(frozen=True, kw_only=True)
class VoteRules:
    """What counts.

    Attributes:
        consent: How users agreed that their votes may be used for training; noted with each pair.
        cap: Most opinions on passages, up and down apart, that one user may give; the newest count.
        least_users: Users who must speak for a pair.
        solicit: By live experiment, the share of its answers that asked for a rating.

    Raises:
        ValueError: No consent, or a number below 1.
    """

    consent: str
    cap: int = 20
    least_users: int = 1
    solicit: Mapping[int, float]

    def __post_init__(self) -> None:
        if not self.consent.strip():
            raise ValueError("votes may be used for training only where users agreed: say how they did")
        if self.cap < 1 or self.least_users < 1:
            raise ValueError(f"cap is {self.cap} and least_users is {self.least_users}: give at least 1")


@dataclass(frozen=True, kw_only=True)
class _Opinion:
    """What one user says of one passage for one query."""

    voted: VotedTrial
    vote: Vote
    passage_id: str
    up: bool
    how: str

    @property
    def query(self) -> str:
        return normalise(self.voted.trial.query.text or "")


def vote_pairs(voted: Sequence[VotedTrial], corpus: Corpus, judged: Sequence[Pair], rules: VoteRules) -> Gathered:
    """A pair for each query and passage that more users are for than against.

    An answer voted up speaks for the passages that it cites, or for the first one retrieved where it cites none; an answer voted down
    against those that it cites; a vote on a source for or against that source, whatever was said of the answer. A user's last word on a query
    and a passage counts, whenever it came. What more users are against is a hard negative of the query's pairs, if it has any: from votes,
    or from `judged`.

    Args:
        voted: With query texts where they are kept.
        corpus: That the live service searched.
        judged: Training pairs of judgments: their passages answer their queries.
        rules: See `VoteRules`.
    """
    left_out: Counter[str] = Counter()
    opinions = _last_words(
        [opinion for each in voted for opinion in _opinions(each, left_out) if _in(corpus, opinion, left_out)], rules, left_out
    )
    behind: dict[tuple[str, str], list[_Opinion]] = {}
    for opinion in opinions:
        behind.setdefault((opinion.query, opinion.passage_id), []).append(opinion)
    positives, negatives = _sides(behind, rules, left_out)
    answered: dict[str, list[Pair]] = {}
    for pair in judged:
        answered.setdefault(normalise(pair.query), []).append(pair)
    pairs: list[Pair] = []
    for query, (right, wrong) in _by_query(positives, negatives).items():
        if not right and query not in answered:
            left_out[NO_POSITIVE] += len(wrong)
            continue
        known = {normalise(pair.passage) for pair in answered.get(query, ())}
        hard = {each: said for each, said in wrong.items() if normalise(corpus.by_id[each].content) not in known}
        pairs += _pairs(corpus, right, hard, answered.get(query, ()), rules)
    facts = {
        "trials voted on": len(voted),
        "users who voted": len({each.trial.unit for each in voted if each.trial.unit is not None}),
        "users behind the pairs": len({said.voted.trial.unit for group in positives.values() for said in group}),
        "late votes": sum(len(each.late) for each in voted),
    }
    return Gathered(pairs=tuple(pairs), left_out={reason: n for reason, n in left_out.items() if n}, facts=facts)


def _opinions(voted: VotedTrial, left_out: Counter[str]) -> Iterator[_Opinion]:
    trial, standing = voted.trial, voted.standing
    if trial.unit is None or trial.assignment.reason == "denied" or trial.query.text is None:
        left_out[NO_USER if trial.unit is None else DENIED if trial.assignment.reason == "denied" else HASHED] += 1
        return
    left_out[WITHDRAWN] += len({vote.passage_id for vote in voted.votes}) - len(standing)
    if trial.trial.ranking is None:
        left_out[FAILED] += len(standing)
        return
    found = dict(_of_answer(voted, standing[None], left_out)) if None in standing else {}
    for target, vote in standing.items():
        if target is not None:
            found[target] = _Opinion(voted=voted, vote=vote, passage_id=target, up=vote.thumb == "up", how="vote on the source")
    yield from found.values()


def _of_answer(voted: VotedTrial, vote: Vote, left_out: Counter[str]) -> Iterator[tuple[str, _Opinion]]:
    """What a vote on an answer says of passages."""
    answer, ranking, up = voted.trial.trial.answer, voted.trial.trial.ranking, vote.thumb == "up"
    cited = () if answer is None else answer.cited
    first = () if ranking is None else ranking.passage_ids[:1]
    if answer is not None and answer.finish_reason == "abstained":
        left_out[ABSTAINED] += 1
    elif not up and vote.tags and not _ABOUT_SOURCES & set(vote.tags):
        left_out[OTHER_FAULT] += 1
    elif not up and not cited:
        left_out[NOTHING_CITED] += 1
    else:
        how = "cited" if cited else "first passage"
        for passage_id in cited or first:
            yield passage_id, _Opinion(voted=voted, vote=vote, passage_id=passage_id, up=up, how=how)


def _in(corpus: Corpus, opinion: _Opinion, left_out: Counter[str]) -> bool:
    there = opinion.passage_id in corpus.by_id
    left_out[GONE] += not there
    return there


def _last_words(opinions: Sequence[_Opinion], rules: VoteRules, left_out: Counter[str]) -> list[_Opinion]:
    """Each user's last opinion on a query and a passage, the newest of them up to the cap."""
    last: dict[tuple[str | None, str, str], _Opinion] = {}
    for opinion in sorted(opinions, key=lambda each: each.vote.at):
        key = (opinion.voted.trial.unit, opinion.query, opinion.passage_id)
        last.pop(key, None)
        last[key] = opinion
    given: Counter[tuple[str | None, bool]] = Counter()
    kept = []
    for opinion in reversed(last.values()):
        given[opinion.voted.trial.unit, opinion.up] += 1
        if given[opinion.voted.trial.unit, opinion.up] > rules.cap:
            left_out[OVER_CAP] += 1
        else:
            kept.append(opinion)
    return kept[::-1]


_Sided = dict[tuple[str, str], list[_Opinion]]


def _sides(behind: Mapping[tuple[str, str], list[_Opinion]], rules: VoteRules, left_out: Counter[str]) -> tuple[_Sided, _Sided]:
    """What more users are for, and what more are against."""
    positives: _Sided = {}
    negatives: _Sided = {}
    for key, said in behind.items():
        up = sum(each.up for each in said)
        down = len(said) - up
        if up == down:
            left_out[DISAGREE] += 1
        elif max(up, down) < rules.least_users:
            left_out[TOO_FEW] += 1
        else:
            (positives if up > down else negatives)[key] = said
    return positives, negatives


def _by_query(positives: _Sided, negatives: _Sided) -> dict[str, tuple[dict[str, list[_Opinion]], dict[str, list[_Opinion]]]]:
    """What speaks for and against passages, by query."""
    found: dict[str, tuple[dict[str, list[_Opinion]], dict[str, list[_Opinion]]]] = {}
    for place, side in enumerate((positives, negatives)):
        for (query, passage_id), said in side.items():
            found.setdefault(query, ({}, {}))[place][passage_id] = said
    return found


def _pairs(
    corpus: Corpus, right: Mapping[str, list[_Opinion]], wrong: Mapping[str, list[_Opinion]], judged: Sequence[Pair], rules: VoteRules
) -> Iterator[Pair]:
    """The pairs of one query: those that users voted up, and, where there is something to tell them apart from, those that were judged."""
    negatives = tuple(corpus.by_id[passage_id].content for passage_id in wrong)
    against = [{"passage_id": passage_id, **_behind(said, rules)} for passage_id, said in wrong.items()]
    shared = {"consent": rules.consent, **({"negatives": against} if against else {})}
    for passage_id, said in right.items():
        passage, newest = corpus.by_id[passage_id], said[-1].voted.trial.query
        how = dict.fromkeys(each.how for each in said if each.up)
        yield Pair(
            query=newest.text or "",
            passage=passage.content,
            passage_id=passage_id,
            document_id=passage.document_id,
            negatives=negatives,
            origin="vote",
            provenance={"positive": list(how), **_behind(said, rules), "query_text": newest.stored, **shared},
        )
    for pair in judged if negatives else ():
        yield Pair(
            query=pair.query,
            passage=pair.passage,
            passage_id=pair.passage_id,
            document_id=pair.document_id,
            source=pair.source,
            negatives=negatives,
            origin="vote",
            split=pair.split,
            provenance={"positive": ["judgment"], **shared},
        )


def _behind(said: Sequence[_Opinion], rules: VoteRules) -> dict[str, object]:
    """Who stands behind it, without saying who they are."""
    arms: dict[str, list[_Opinion]] = {}
    for each in said:
        arms.setdefault(each.voted.trial.assignment.arm, []).append(each)
    return {
        "users_up": sum(each.up for each in said),
        "users_down": sum(not each.up for each in said),
        "trials": [each.voted.trial.trial_id for each in said],
        "arms": {arm: {"votes": len(group), "propensity": _chances(group)} for arm, group in arms.items()},
        "solicited": sum(each.voted.trial.solicited for each in said),
        "solicited_share": sorted({rules.solicit[each.voted.live_id] for each in said if each.voted.live_id in rules.solicit}),
    }


def _chances(said: Sequence[_Opinion]) -> list[float]:
    """The chances with which the arm was drawn; none where it was not drawn (testers, users outside of the experiment)."""
    return sorted({each.voted.trial.assignment.propensity for each in said if each.voted.trial.assignment.propensity is not None})
