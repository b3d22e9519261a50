"""Two rankings into one context, and whose passage is whose."""

from collections.abc import Sequence

import numpy as np

from ragtrial.domain.live_trial import Team


def team_draft(control: Sequence[str], treatment: Sequence[str], *, length: int, rng: np.random.Generator) -> tuple[tuple[str, Team], ...]:
    """Interleave two rankings as captains pick teams; credit that does not depend on the passages falls on both teams alike.

    Team-draft interleaving (Radlinski, Kurup and Joachims 2008, How does clickthrough data reflect retrieval quality?, CIKM,
    algorithm 2): in each round a fair coin says who picks first, and each ranking picks its best passage that is not in the list yet.
    So in every round each place is either team's with probability 1/2, and users who choose at random, or by place alone, favour nobody:
    the first criterion of fidelity of Hofmann, Whiteson and de Rijke 2013 (ACM TOIS 31(4)).

    Two departures, both decided before the coin of a round is thrown and by a rule that treats the rankings alike, so that they keep that:

    - Where both would pick the same passage next, it stands for `both`, and counts for neither: the coin would decide whose it is,
      which is right on average and only adds noise. A common beginning of both rankings is the usual case.
    - Where one ranking is used up, the rest of the other stands for `both`. (The published loop ends there, also in the middle of a
      round: whether a round has a second place then depends on who began it, which favours the shorter ranking.)

    Args:
        control: Passage ids, best first; of repeated ones the first counts.
        treatment: Likewise.
        length: Passages wanted.
        rng: Throws the coin.

    Returns:
        Passage id and team, best first; fewer than `length` only where both rankings together hold fewer.

    Raises:
        ValueError: `length` is below 0.
    """
    if length < 0:
        raise ValueError(f"length is {length}: give 0 or more")
    left: dict[Team, list[str]] = {"control": list(dict.fromkeys(control)), "treatment": list(dict.fromkeys(treatment))}
    drafted: list[tuple[str, Team]] = []

    def pick(passage: str, team: Team) -> None:
        drafted.append((passage, team))
        for ranking in left.values():
            if passage in ranking:
                ranking.remove(passage)

    while len(drafted) < length and any(left.values()):
        if not all(left.values()):
            pick((left["control"] or left["treatment"])[0], "both")
        elif left["control"][0] == left["treatment"][0]:
            pick(left["control"][0], "both")
        else:
            order: tuple[Team, Team] = ("control", "treatment") if rng.random() < 0.5 else ("treatment", "control")
            for team in order:
                pick(left[team][0], team)
    return tuple(drafted[:length])
