"""Faults of live experiments: how each is planted, and what a user reads where it is caught."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ragtrial.domain.live import GUARDRAIL
from ragtrial.domain.selftest import FaultInfo, Tried
from ragtrial.errors import RagtrialError
from ragtrial.serving.service import LiveService, Question
from ragtrial.splitting import Split, initial_state
from ragtrial.suite.selftest import border
from ragtrial.suite.selftest.driving import NO_INJECTION, Detect, Driven, Injection, Look, by_query, drive
from ragtrial.suite.selftest.world import PROVIDER, World

LOST, MIXED, FAILED, NAN, HIDDEN = 0.5, 0.08, 0.15, 0.15, 0.8
SLOWER, SLOWER_S, BACK_S = 2.0, 0.1, 3600.0
"""The slow arm takes so many times the control's mean wait longer, and at least so many seconds: a busy machine is slow in both arms."""
VOTES, FEWEST_VOTES = 5, 10
BOT_EVERY, APART = 3, 3.3
"""Every third query is the bot's; 3.3 standard errors are p < 0.001 to whoever takes queries as independent."""
CLOCK_FROM, CLOCK_TO = 200, 260
SPLIT_MOVED_AT, SPLIT_MOVED_TO = 400, 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the control has shown.

    Attributes:
        easy: The text of a gold query to which the best passage is found.
        waited_s: Mean time from a question to its answer.
    """

    easy: str
    waited_s: float


@dataclass(frozen=True, kw_only=True)
class LiveFault:
    """A fault of the traffic.

    Attributes:
        info: What it is called.
        injection: How it is planted, in this world, by somebody who knows the control.
        detect: What a user reads where it is caught; None where it isn't.
        refusal: Words of the error with which the service has to refuse to start; None: it has to start. Another error is no catch.
    """

    info: FaultInfo
    injection: Callable[[World, Known], Injection]
    detect: Detect
    refusal: str | None = None


def _failing(check: str) -> Detect:
    """The verdict is refused because of this check."""

    def detect(look: Look) -> str | None:
        state, detail = look.check(check)
        refused = look.analysis.verdict.decision == "refused"
        return f"No verdict: {check}: {detail}" if state == "fail" and refused else None

    return detect


def _warning(check: str) -> Detect:
    """The check warns, beside the verdict."""

    def detect(look: Look) -> str | None:
        state, detail = look.check(check)
        return f"{check}: {detail}" if state in ("warn", "fail") else None

    return detect


def _stopped(metric: str, holds: Callable[[Look], bool] = lambda _look: True) -> Detect:
    """The guardrail on this metric has stopped the treatment by itself."""

    def detect(look: Look) -> str | None:
        traffic = look.traffic
        named = traffic.reason.partition(":")[0].split(", ")
        return (
            f"stopped by {traffic.actor}: {traffic.reason}"
            if (traffic.stopped and traffic.actor == GUARDRAIL and metric in named and holds(look))
            else None
        )

    return detect


def _logged_as(stage: str, words: str) -> Callable[[Look], bool]:
    """Whether failures of the treatment are in the log with their reason, and never as a number."""

    def holds(look: Look) -> bool:
        treatment = look.file.experiment.treatment.name
        failures = [
            t.trial.failure
            for t in look.reader.recent(look.live_id, limit=1000)
            if t.trial.failure is not None and t.trial.arm == treatment
        ]
        return any(each.stage == stage and words in each.message for each in failures)

    return holds


def _votes(look: Look) -> str | None:
    told = look.told
    repeated, distinct = told.outcomes["repeated"], told.outcomes["recorded"]
    if distinct < FEWEST_VOTES or not repeated:
        return None
    counts = look.reader.votes(look.live_id)
    counted = sum(count.up + count.down for count in counts)
    meant = sum(thumb in ("up", "down") for thumb in told.ballots.values())
    if counted != meant or repeated + distinct != told.sent_votes:
        return None
    return f"outcome 'repeated' for {repeated:,} of {told.sent_votes:,} votes, and nothing changed: {counted:,} votes of {meant:,} voters count"


def _heavy(look: Look) -> str | None:
    """A naive reader would be sure, and the analysis by unit is not."""
    primary, verdict = look.analysis.comparisons[0], look.analysis.verdict
    experiment = look.file.experiment
    apart = by_query(look.told, (experiment.control.name, experiment.treatment.name))
    if apart is None or abs(apart) < APART or primary.effect is None or verdict.decision not in ("undecided", "too few"):
        return None
    return f"{verdict.sentence} (taken query by query, the arms would be {apart:+.1f} standard errors apart)"


def _lost_scores(look: Look) -> str | None:
    """What was not written has no score in SQL, so that it was scored again: in the end there are as many scores as trials."""
    primary = look.analysis.comparisons[0]
    written = sum(map(len, look.told.scores.values()))
    scored, trials = (sum(getattr(arm, name) for arm in primary.samples) for name in ("n_scored", "n_trials"))
    if scored < trials or written <= scored:
        return None
    return f"coverage: {look.check('coverage')[1]}; {written - scored:,} that were lost were found missing and scored again"


def _bot(world: World, known: Known) -> Injection:
    """A bot in the treatment asks the same easy question again and again."""
    experiment = world.prepared(world.experiment("heavy-user", live={})).experiment
    split, state = Split.of(experiment), initial_state(experiment)
    unit = next(name for number in range(1000) if split.assign(name := f"bot-{number}", state).arm == experiment.treatment.name)
    return Injection(question=lambda question, n: replace(question, unit=unit, text=known.easy) if n % BOT_EVERY == 0 else question)


def _back(question: Question, number: int) -> Question:
    """For a while the clock is an hour behind."""
    return replace(question, query_at=question.query_at - BACK_S) if CLOCK_FROM <= number < CLOCK_TO else question


async def _moved(service: LiveService, n: int) -> None:
    if n == SPLIT_MOVED_AT:
        await service.change_traffic(treatment=SPLIT_MOVED_TO, actor="selftest", reason="more of a good thing")


def _other_k(world: World, _known: Known) -> Injection:
    arms = [
        {"name": name, "role": role, "embedding": {"provider": PROVIDER, "model": f"{world.token}-a", "dimensions": 64}, **more}
        for name, role, more in (("baseline", "control", {}), ("custom", "treatment", {"retrieval": {"top_k": 20}}))
    ]
    return Injection(changes={"arms": arms})


def _altering(alter: border.Alter) -> Callable[[World, Known], Injection]:
    return lambda _world, _known: Injection(altered=alter)


LIVE_FAULTS = (
    LiveFault(
        info=FaultInfo(
            name="lost-exposures",
            planted=f"{LOST:.0%} of the treatment's users never reach the log",
            guard="sequential sample ratio test (srm_units)",
        ),
        injection=_altering(border.losing(LOST)),
        detect=_failing("srm_units"),
    ),
    LiveFault(
        info=FaultInfo(
            name="two-arms",
            planted=f"{MIXED:.0%} of the requests are logged for the other arm, so that users see both",
            guard="crossover check (in_both_arms)",
        ),
        injection=_altering(border.mixing(MIXED)),
        detect=_failing("in_both_arms"),
    ),
    LiveFault(
        info=FaultInfo(name="duplicate-votes", planted=f"every vote is sent {VOTES} times", guard="idempotency keys; the last vote counts"),
        injection=lambda _world, _known: Injection(votes=VOTES),
        detect=_votes,
    ),
    LiveFault(
        info=FaultInfo(
            name="slow-arm", planted=f"the treatment takes {SLOWER:g} times as long on top", guard="latency guardrail: stops by itself"
        ),
        injection=lambda _world, known: Injection(altered=border.slow(max(SLOWER_S, SLOWER * known.waited_s))),
        detect=_stopped("latency_ms"),
    ),
    LiveFault(
        info=FaultInfo(
            name="failing-arm",
            planted=f"the treatment's generator fails on {FAILED:.0%} of the queries, and users get the baseline",
            guard="guardrail on failed: counts for the arm that failed, stops by itself",
        ),
        injection=_altering(border.failing(FAILED)),
        detect=_stopped("failed", _logged_as("generate", "hung up")),
    ),
    LiveFault(
        info=FaultInfo(
            name="nan-embedder",
            planted=f"the treatment's model returns NaN for {NAN:.0%} of the queries",
            guard="vectors are checked: a failure with its reason, never a number; guardrail on failed",
        ),
        injection=lambda _world, _known: Injection(altered=border.not_finite(NAN), models="ab"),
        detect=_stopped("failed", _logged_as("search", "finite")),
    ),
    LiveFault(
        info=FaultInfo(
            name="wrong-index",
            planted="the treatment's collection was built with another model of the same dimension",
            guard="identity of the model in the collection: the service refuses to start",
        ),
        injection=_altering(border.another_model()),
        detect=lambda _look: None,
        refusal="holds vectors of",
    ),
    LiveFault(
        info=FaultInfo(
            name="other-k", planted="the treatment retrieves 20 passages, the control 10, undeclared", guard="parity certificate"
        ),
        injection=_other_k,
        detect=_failing("parity"),
    ),
    LiveFault(
        info=FaultInfo(
            name="moved-split",
            planted=f"the treatment's share is raised from 50 % to {SPLIT_MOVED_TO:.0%} half-way (Simpson's paradox)",
            guard="allocation check",
        ),
        injection=lambda _world, _known: Injection(at_look=_moved),
        detect=_failing("allocation"),
    ),
    LiveFault(
        info=FaultInfo(
            name="heavy-user",
            planted=f"a bot in the treatment asks every {BOT_EVERY}rd query, an easy one",
            guard="error by unit, not by query",
        ),
        injection=_bot,
        detect=_heavy,
    ),
    LiveFault(
        info=FaultInfo(name="clock-jump", planted="the clock goes back an hour for 60 queries", guard="clock check (warns)"),
        injection=lambda _world, _known: Injection(question=_back),
        detect=_warning("clock"),
    ),
    LiveFault(
        info=FaultInfo(
            name="lost-scores",
            planted="half of the scores are lost on their way to SQL",
            guard="what has no score in SQL is counted, and scored again",
        ),
        injection=_altering(border.dropping_scores_once()),
        detect=_lost_scores,
    ),
    LiveFault(
        info=FaultInfo(
            name="missing-scores",
            planted=f"the scorer gives up on {HIDDEN:.0%} of the treatment's worst answers, which flatters its mean",
            guard="missing check (warns), with the counts",
        ),
        injection=_altering(border.hiding_scores(HIDDEN)),
        detect=_warning("missing"),
    ),
)
"""In the order in which they are tried."""

DETECTORS: Mapping[str, Detect] = {fault.info.name: fault.detect for fault in LIVE_FAULTS}


def try_live(world: World, fault: LiveFault, known: Known) -> Tried:
    """Plant one fault, and see."""
    begin = time.monotonic()
    name = fault.info.name
    try:
        driven = drive(world, name, fault.injection(world, known), {name: fault.detect})
    except RagtrialError as error:
        if fault.refusal is None or fault.refusal not in str(error):  # a store that is away, say
            raise
        return Tried(fault=fault.info, sentence=str(error), after=0, asked=0, seconds=time.monotonic() - begin)
    after, sentence = driven.found.get(name, (None, None))
    return Tried(fault=fault.info, sentence=sentence, after=after, asked=driven.n, seconds=time.monotonic() - begin)


def drive_control(world: World, inspect: Callable[[Look], None]) -> Driven:
    """The same experiment without a fault, with every guard looking at every look."""
    return drive(world, "control", NO_INJECTION, DETECTORS, stop_at_first=False, inspect=inspect)
