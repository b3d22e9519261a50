"""Simulated traffic over real HTTP, against a small server that remembers what it acknowledged and misbehaves on demand."""

from collections import Counter
from dataclasses import replace

import pytest
from aiohttp import web

from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import Arm, EmbeddingSpec, Experiment, MetricsPlan
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.live import LiveMetrics, LiveSpec
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.errors import InputError, SetupError
from ragtrial.splitting import Split, initial_state
from ragtrial.suite.traffic import Traffic, TrafficPlan, simulate
from ragtrial.suite.traffic_users import population, visits
from servers.live_server import LiveServer, each, running

QUERIES = tuple(Query(query_id=f"q{n}", text=f"where does the crane number {n} stand?") for n in range(40))
GOLD = GoldSet(
    name="cranes", queries=QUERIES, judgments=tuple(Judgment(query_id=q.query_id, target_id=f"p-{q.query_id}", grade=2) for q in QUERIES)
)
EXPERIMENT = Experiment(
    name="cranes",
    data=DataSpec(path="data"),
    arms=(
        Arm(name="baseline", role="control", embedding=EmbeddingSpec(provider="hashing", model="a")),
        Arm(name="custom", role="treatment", embedding=EmbeddingSpec(provider="hashing", model="b")),
    ),
    metrics=MetricsPlan(primary=PrimaryMetric(name="nDCG@10")),
    live=LiveSpec(metrics=LiveMetrics(primary=PrimaryMetric(name="nDCG@10"))),
)
PLAN = TrafficPlan(n_users=30, n_queries=200, concurrency=8, look_every=None)
SPLIT, STATE = Split.of(EXPERIMENT), initial_state(EXPERIMENT)


def right(query: str, unit: str) -> list[str]:
    """Sources with the relevant one first; the number in the words tells which that is, whatever the order of the words."""
    number = next(word for word in query.replace("?", "").split() if word.isdigit())
    return [f"p-q{number}", "p-other", "p-another"]


def driven(server: LiveServer, plan: TrafficPlan = PLAN, key: str = "right", **options: object) -> Traffic:
    traffic = Traffic(plan=plan)
    with running(server):
        simulate(traffic, experiment=EXPERIMENT, gold=GOLD, url=server.url, key=key, **options)  # type: ignore[arg-type]
    return traffic


def acknowledged(traffic: Traffic, *kinds: str) -> list[str]:
    return sorted(one.trial_id if "trial" in one.kind else one.key for one in traffic.acknowledged if one.kind in kinds)


def test_everything_that_was_counted_is_at_the_service_and_nothing_twice() -> None:
    server = LiveServer(sources=right, solicits=True)
    traffic = driven(server)
    assert traffic.in_order
    assert traffic.visits == 200
    assert traffic.counts.answers == len(server.trials) == 200 + traffic.follow_ups == len(traffic.latencies_ms)
    assert acknowledged(traffic, "trial") == sorted(server.trials.values())
    assert acknowledged(traffic, "vote") == sorted(server.votes)
    assert acknowledged(traffic, "signal") == sorted(server.signals)
    assert {unit for _, unit in server.asked.values()} == traffic.seen
    assert sum(traffic.counts.thumbs.values()) == len(server.votes) > 50
    assert traffic.counts.signals == Counter(body["signal"] for body in server.signals.values())
    assert traffic.counts.requests == len(server.requests)
    assert traffic.counts.repeated > 0


def test_the_same_seed_drives_the_same_traffic_however_many_are_at_it() -> None:
    def seen(concurrency: int) -> tuple[object, ...]:
        server = LiveServer(sources=right)
        traffic = driven(server, replace(PLAN, concurrency=concurrency))
        votes = Counter((server.asked[body["trial_id"]], body["thumb"], body.get("passage_id")) for body in server.votes.values())
        return Counter(server.asked.values()), votes, traffic.counts.signals, traffic.counts.repeated, traffic.follow_ups

    assert seen(1) == seen(16)


def test_another_run_of_the_same_seed_asks_anew() -> None:
    server = LiveServer(sources=right)
    first = driven(server)
    second = driven(server)
    assert len(server.trials) == first.counts.answers + second.counts.answers
    assert first.counts.answers == second.counts.answers


def test_a_refusal_is_tried_again_after_the_time_that_the_service_asks_for() -> None:
    def busy() -> web.Response:
        return web.json_response({"error": {"message": "too much to do"}}, status=503, headers={"Retry-After": "0.05"})

    server = LiveServer(sources=right, misdeed=each(5, busy))
    traffic = driven(server)
    assert traffic.in_order
    assert traffic.counts.refused == {"503": traffic.counts.requests // 5}
    assert len(server.trials) == traffic.counts.answers == 200 + traffic.follow_ups
    assert traffic.latency_ms(0.99) > 50  # the wait is part of what the user sees
    assert acknowledged(traffic, "vote") == sorted(server.votes)


def test_who_is_refused_again_and_again_gives_up_and_is_counted() -> None:
    def never() -> web.Response:
        return web.json_response({}, status=503, headers={"Retry-After": "0"})

    traffic = driven(
        LiveServer(sources=right, misdeed=lambda path, _n: never() if path == "/v1/ask" else None), replace(PLAN, n_queries=20)
    )
    assert (traffic.counts.given_up, traffic.counts.answers, traffic.visits) == (20, 0, 20)
    assert not traffic.in_order


def test_a_broken_connection_loses_nothing_and_doubles_nothing() -> None:
    server = LiveServer(sources=right, misdeed=each(7, lambda: "hang up after"), solicits=True)
    traffic = driven(server, replace(PLAN, duplicates=0.0))
    assert traffic.counts.dropped > 20
    assert traffic.in_order
    assert len(server.trials) == traffic.counts.answers == 200 + traffic.follow_ups
    assert acknowledged(traffic, "vote") == sorted(server.votes)
    assert traffic.counts.outcomes["repeated"] > 0  # what had been recorded before the connection broke


def test_failed_trials_are_counted_apart_from_errors() -> None:
    def failed() -> web.Response:
        return web.json_response({"error": {"message": "search: no collection", "trial_id": "trial_failed"}}, status=502)

    server = LiveServer(sources=right, misdeed=lambda path, n: failed() if path == "/v1/ask" and n % 4 == 0 else None)
    traffic = driven(server)
    assert traffic.counts.failed == len(acknowledged(traffic, "failed trial")) > 20
    assert traffic.counts.answers == len(server.trials)
    assert not traffic.counts.errors
    assert not traffic.in_order


def test_every_other_refusal_is_an_error_with_what_was_said() -> None:
    def wrong() -> web.Response:
        return web.json_response({"error": {"message": "query: too long"}}, status=400)

    traffic = driven(LiveServer(sources=right, misdeed=lambda path, n: wrong() if path == "/v1/ask" and n < 3 else None))
    assert traffic.counts.errors == {"400: query: too long": 3}


def test_answers_that_were_not_logged_get_no_votes() -> None:
    def unlogged() -> web.Response:
        answer = {"trial_id": "trial_x", "answer": "", "abstained": True, "sources": [], "solicit_rating": True, "logged": False}
        return web.json_response(answer)

    server = LiveServer(sources=right, misdeed=lambda path, _n: unlogged() if path == "/v1/ask" else None)
    traffic = driven(server, replace(PLAN, n_queries=30))
    assert (traffic.counts.unlogged, traffic.counts.answers, len(server.votes), len(server.signals)) == (30, 0, 0, 0)


def test_a_service_that_answers_a_repetition_with_another_trial_is_found_out() -> None:
    class Forgetful(LiveServer):
        async def _ask(self, request: web.Request) -> web.Response:
            response = await super()._ask(request)
            self.trials[f"{request.headers['Idempotency-Key']}-{len(self.trials)}"] = self.trials.pop(request.headers["Idempotency-Key"])
            return response

    traffic = driven(Forgetful(sources=right), replace(PLAN, duplicates=0.5))
    assert traffic.counts.contradictions > 50
    assert not traffic.in_order


def test_better_rankings_show_in_what_users_do() -> None:
    def worse(query: str, unit: str) -> list[str]:
        return ["p-other", "p-another", right(query, unit)[0]]

    good, bad = driven(LiveServer(sources=right)), driven(LiveServer(sources=worse))
    assert good.satisfied / good.counts.answers > bad.satisfied / bad.counts.answers + 0.3
    assert good.follow_ups < bad.follow_ups
    assert good.counts.signals["copied"] / good.counts.answers > bad.counts.signals["copied"] / bad.counts.answers


def test_lost_exposures_take_users_from_the_treatment_only() -> None:
    server = LiveServer(sources=right)
    traffic = driven(server, replace(PLAN, n_users=60, n_queries=600, plant="lost-exposures", plant_share=0.5))
    honest = driven(LiveServer(sources=right), replace(PLAN, n_users=60, n_queries=600))
    arms = [{SPLIT.assign(unit, STATE).arm for unit in run.seen} for run in (honest, traffic)]
    assert arms == [{"baseline", "custom"}] * 2
    gone = honest.seen - traffic.seen
    assert {SPLIT.assign(unit, STATE).arm for unit in gone} == {"custom"}
    treated = [unit for unit in honest.seen if SPLIT.assign(unit, STATE).arm == "custom"]
    assert 0.25 < len(gone) / len(treated) < 0.75
    assert traffic.visits == 600
    assert traffic.lost > 50


def test_lost_exposures_need_users_that_differ_in_their_arm() -> None:
    shadow = replace(EXPERIMENT, live=replace(EXPERIMENT.live, mode="shadow"))
    with pytest.raises(InputError, match="mode 'split'"):
        simulate(Traffic(plan=replace(PLAN, plant="lost-exposures")), experiment=shadow, gold=GOLD, url="http://127.0.0.1:1", key="right")


def test_duplicate_votes_are_sent_five_times_and_count_once() -> None:
    server = LiveServer(sources=right, solicits=True)
    traffic = driven(server, replace(PLAN, duplicates=0.0, plant="duplicate-votes"))
    assert traffic.in_order
    assert traffic.counts.outcomes["repeated"] == 4 * len(server.votes) > 100
    assert sum(traffic.counts.thumbs.values()) == len(server.votes)


def test_looks_come_while_it_runs_and_once_more_at_the_end() -> None:
    told: list[tuple[int, object]] = []
    driven(LiveServer(sources=right), replace(PLAN, n_queries=230, look_every=50), told=lambda n, content: told.append((n, content)))
    assert told[-1][0] == 230
    assert 2 <= len(told) <= 5
    assert all(
        isinstance(content, dict) and content["experiment"]["name"] == "cranes" and content["progress"]["n_units"] > 0
        for _, content in told
    )


def test_a_key_that_may_not_read_results_is_said_and_stops_nothing() -> None:
    told: list[object] = []
    traffic = driven(
        LiveServer(sources=right), replace(PLAN, look_every=100), read_key="wrong", told=lambda _n, content: told.append(content)
    )
    assert traffic.in_order
    assert all("--read-key-env" in str(content) for content in told)


def test_a_key_that_may_not_ask_ends_it_at_once() -> None:
    server = LiveServer(sources=right)
    with pytest.raises(InputError, match="refuses the key"):
        driven(server, key="wrong")
    assert not server.trials


def test_no_service_is_said_before_any_traffic() -> None:
    with pytest.raises(SetupError, match=r"no service answers at http://127\.0\.0\.1:1"):
        simulate(Traffic(plan=PLAN), experiment=EXPERIMENT, gold=GOLD, url="http://127.0.0.1:1", key="right")


def test_a_rate_is_kept_and_waiting_for_a_turn_counts_as_latency() -> None:
    plan = replace(PLAN, n_queries=60, rate=60.0, duplicates=0.0)
    relaxed = driven(LiveServer(sources=right), plan)
    coming = visits(population(GOLD, n=plan.n_users, seed=plan.seed), GOLD, n=60, seed=plan.seed, rate=60.0)
    last = max(visit.due_s for visit in coming)
    assert 0.5 < last < 2.5  # 60 arrivals at 60 a second: a second, give or take its Poisson spread
    assert relaxed.seconds >= last

    def slow() -> web.Response:
        return web.json_response({}, status=503, headers={"Retry-After": "0.05"})

    crowded = driven(LiveServer(sources=right, misdeed=each(2, slow)), replace(plan, n_queries=30, concurrency=1))
    assert crowded.latency_ms(0.5) > 300  # one at a time, 0.05 s and more each, while they come 60 a second


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"n_users": 0}, "--users"),
        ({"n_queries": 0}, "--queries"),
        ({"concurrency": 0}, "--concurrency"),
        ({"own_words": 1.5}, "--own-words"),
        ({"duplicates": -0.1}, "--duplicates"),
        ({"rate": 0.0}, "--rate"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_the_name_of_its_option(wrong: dict, option: str) -> None:
    with pytest.raises(InputError, match=option):
        replace(PLAN, **wrong)


def test_a_service_that_serves_another_experiment_is_asked_nothing() -> None:
    server = LiveServer(sources=right, experiment="portwright-live")
    with pytest.raises(InputError, match=r"serves 'portwright-live', not 'cranes': give its file, or another --url"):
        driven(server)
    assert server.requests == []
