"""The service over HTTP from the first question to the stopped experiment."""

import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from live_service import Live, live, live_experiment
from ragtrial.db.live_reader import LiveReader
from ragtrial.errors import NotEnoughDataError

QUESTION = "what is the anchor of pw0003"


class Analyses:
    """Stands where the analysis is made: says how often it was asked for."""

    def __init__(self) -> None:
        self.ready, self.made = False, 0

    def __call__(self, _reader: LiveReader) -> dict[str, object]:
        if not self.ready:
            raise NotEnoughDataError("no trial yet")
        self.made += 1
        time.sleep(1.0)  # what took long to make is shown for a while
        return {"verdict": "keep collecting", "made": self.made}


ANALYSES = Analyses()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(live_experiment(tmp_path_factory.mktemp("api")), analyse=ANALYSES) as served:
        yield served


@pytest.fixture
def operator(service: Live) -> Iterator[httpx.Client]:
    with service.client("operator") as client:
        yield client


def ask(client: httpx.Client, unit: str | None = "user-1", query: str = QUESTION, **rest: object) -> dict:
    response = client.post("/v1/ask", json={"query": query, "unit": unit, **rest})
    assert response.status_code == 200, response.text
    return response.json()


def units_of(client: httpx.Client, arm: str, n: int) -> list[str]:
    """Units that the split gives this arm."""
    found = []
    for number in range(200):
        if len(found) < n and ask(client, f"looking-{number}")["arm"] == arm:
            found.append(f"looking-{number}")
    return found


def test_an_answer_comes_with_its_sources_and_is_in_the_log(operator: httpx.Client) -> None:
    answer = ask(operator)
    assert answer["logged"]
    assert not answer["replayed"]
    assert answer["latency_ms"] > 0
    assert answer["usage"] == {"prompt_tokens": None, "cached_tokens": None, "completion_tokens": None, "cost_usd": None}
    assert answer["assignment_reason"] == "split"
    assert answer["sources"]
    assert all(source["text"] and source["passage_id"] for source in answer["sources"])
    trial = operator.get(f"/v1/trials/{answer['trial_id']}").json()
    assert (trial["query"], trial["answer"], trial["arm"]) == (QUESTION, answer["answer"], answer["arm"])
    assert set(trial["cited"]) == {source["passage_id"] for source in answer["sources"] if source["cited"]}
    assert trial["served"]
    assert trial["propensity"] == 0.5


def test_a_unit_keeps_its_arm_and_both_arms_are_seen(operator: httpx.Client) -> None:
    arms = {unit: {ask(operator, unit)["arm"] for _ in range(3)} for unit in (f"sticky-{n}" for n in range(12))}
    assert all(len(seen) == 1 for seen in arms.values())
    assert {arm for seen in arms.values() for arm in seen} == {"baseline", "custom"}


def test_the_unit_may_come_in_the_metadata(operator: httpx.Client) -> None:
    unit = units_of(operator, "custom", 1)[0]
    assert ask(operator, None, metadata={"user_id": unit, "page": "help"})["arm"] == "custom"
    nobody = ask(operator, None, metadata={"page": "help"})
    assert (nobody["assignment_reason"], nobody["has_unit"]) == ("no unit", False)
    assert ask(operator, unit)["has_unit"]


def test_about_half_of_the_answers_ask_for_a_rating_and_the_same_request_always_does(operator: httpx.Client) -> None:
    asked = [ask(operator, f"rating-{n}")["solicit_rating"] for n in range(60)]
    assert 12 <= sum(asked) <= 48, "a share of 0.5: outside this once in a million"


def test_a_repeated_request_gets_its_first_answer(operator: httpx.Client, service: Live) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first = operator.post("/v1/ask", json={"query": QUESTION, "unit": "user-9"}, headers=headers).json()
    again = operator.post("/v1/ask", json={"query": QUESTION, "unit": "user-9"}, headers=headers).json()
    assert again["replayed"]
    assert again["trial_id"] == first["trial_id"]
    assert again["answer"] == first["answer"]
    other = operator.post("/v1/ask", json={"query": "something else", "unit": "user-9"}, headers=headers)
    assert other.status_code == 400
    with service.client("tester") as tester:
        theirs = tester.post("/v1/ask", json={"query": QUESTION, "unit": "user-9"}, headers=headers).json()
    assert theirs["trial_id"] != first["trial_id"], "a key belongs to its caller"


def test_the_last_vote_counts_and_the_history_is_kept(operator: httpx.Client, service: Live) -> None:
    trial = ask(operator, "voter")["trial_id"]
    vote = {"trial_id": trial, "thumb": "up", "key": "v1", "tags": ["fast", "wrong source"], "comment": "fine"}
    assert operator.post("/v1/feedback", json=vote).json() == {"outcome": "recorded"}
    assert operator.post("/v1/feedback", json=vote).json() == {"outcome": "repeated"}
    assert operator.post("/v1/feedback", json={"trial_id": trial, "thumb": "down"}).json() == {"outcome": "recorded"}
    assert operator.post("/v1/feedback", json={"trial_id": trial, "thumb": "withdrawn"}, headers={"Idempotency-Key": "v3"}).json() == {
        "outcome": "recorded"
    }
    assert operator.post("/v1/feedback", json={"trial_id": trial, "thumb": "withdrawn"}, headers={"Idempotency-Key": "v3"}).json() == {
        "outcome": "repeated"
    }
    votes = operator.get(f"/v1/trials/{trial}").json()["votes"]
    assert [vote["thumb"] for vote in votes] == ["up", "down", "withdrawn"]
    assert (votes[0]["tags"], votes[0]["comment"]) == (["fast", "wrong source"], "fine")
    with service.client("viewer") as viewer:
        votes = viewer.get(f"/v1/trials/{trial}").json()["votes"]
    assert (votes[0]["tags"], votes[0]["comment"]) == (["wrong source"], None), "what was typed is for operators"


def test_a_source_can_be_voted_on_and_events_are_taken(operator: httpx.Client) -> None:
    answer = ask(operator, "voter")
    passage = answer["sources"][0]["passage_id"]
    body = {"trial_id": answer["trial_id"], "passage_id": passage}
    assert operator.post("/v1/feedback", json={**body, "thumb": "up"}).json() == {"outcome": "recorded"}
    for signal in ("copied", "rephrased", "citation_clicked"):
        assert operator.post("/v1/events", json={**body, "signal": signal, "key": signal}).json() == {"outcome": "recorded"}
    assert operator.post("/v1/events", json={**body, "signal": "copied", "key": "copied"}).json() == {"outcome": "repeated"}
    assert operator.post("/v1/events", json={**body, "signal": "shouted"}).status_code == 400
    for path, what in (("/v1/feedback", {"thumb": "up"}), ("/v1/events", {"signal": "citation_clicked"})):
        refused = operator.post(path, json={**body, **what, "passage_id": "nope"})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "passage_id"
        assert "the answer has no source 'nope'" in refused.json()["error"]["message"]


def test_votes_for_unknown_trials_are_refused(operator: httpx.Client) -> None:
    for path, what in (("/v1/feedback", {"thumb": "up"}), ("/v1/events", {"signal": "copied"})):
        refused = operator.post(path, json={"trial_id": "trial_of_nobody", **what})
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "unknown_trial"
    assert operator.get("/v1/trials/trial_of_nobody").status_code == 404


def test_viewers_read_trials_without_texts_and_testers_read_none(service: Live, operator: httpx.Client) -> None:
    trial = ask(operator, "private")["trial_id"]
    operator.post("/v1/feedback", json={"trial_id": trial, "thumb": "down", "comment": "my own words"})
    with service.client("viewer") as viewer, service.client("tester") as tester:
        seen, refused = viewer.get(f"/v1/trials/{trial}").json(), tester.get(f"/v1/trials/{trial}")
    assert (seen["query"], seen["answer"], seen["votes"][0]["comment"]) == (None, None, None)
    assert seen["arm"] in ("baseline", "custom")
    assert refused.status_code == 403


def test_an_experiment_shows_its_traffic_and_counts_and_no_texts(service: Live, operator: httpx.Client) -> None:
    ask(operator, "counted")
    listed = operator.get("/v1/experiments").json()["experiments"]
    assert [(one["name"], one["served"]) for one in listed] == [("small", True)]
    response = operator.get("/v1/experiments/small")
    found = response.json()
    assert (found["mode"], found["primary"]) == ("split", "copied")
    assert found["traffic"]["version"] >= 1
    assert sum(map(sum, found["exposure"]["trials"])) > 0
    assert {votes["arm"] for votes in found["votes"]} <= {"baseline", "custom"}
    assert QUESTION not in response.text
    assert operator.get("/v1/experiments/another").status_code == 404
    assert operator.get("/v1/experiments/another/analysis").status_code == 404


def test_an_analysis_is_409_until_there_is_data_and_then_made_once_however_many_ask(operator: httpx.Client) -> None:
    early = operator.get("/v1/experiments/small/analysis")
    assert early.status_code == 409
    assert early.json()["error"]["code"] == "not_enough_data"
    ANALYSES.ready = True
    assert [operator.get("/v1/experiments/small/analysis").json()["made"] for _ in range(3)] == [1, 1, 1]


def test_the_kill_switch_gives_everyone_the_baseline_from_the_next_answer_on(service: Live, operator: httpx.Client) -> None:
    unit = units_of(operator, "custom", 1)[0]
    version = operator.get("/v1/experiments/small").json()["traffic"]["version"]
    stop = {"stopped": True, "reason": "it answers in the wrong language", "expected_version": version}
    changed = operator.post("/v1/experiments/small/traffic", json=stop)
    assert changed.status_code == 200, changed.text
    answer = ask(operator, unit)
    assert (answer["arm"], answer["assignment_reason"]) == ("baseline", "stopped")
    state = changed.json()
    assert (state["version"], state["stopped"], state["actor"], state["reason"]) == (version + 1, True, "a operator", stop["reason"])
    assert operator.post("/v1/experiments/small/traffic", json=stop).status_code == 409, "the version is another one now"
    on = operator.post("/v1/experiments/small/traffic", json={"stopped": False, "reason": "mended"}).json()
    assert (on["stopped"], on["version"]) == (False, version + 2)
    assert ask(operator, unit)["arm"] == "custom"
    history = operator.get("/v1/experiments/small").json()["history"]
    assert [one["version"] for one in history] == list(range(1, version + 3))
    with service.client("admin") as admin:
        entries = admin.get("/v1/experiments/small/audit").json()["entries"]
    assert any(entry["actor"] == "a operator" and stop["reason"] in str(entry) for entry in entries)
    assert any("key" in entry["action"] for entry in entries), "keys that were made are in it as well"


@pytest.mark.parametrize(
    "change", [{"share": 1.5}, {"treatment": 0}, {"treatment": 1}, {"share": "1"}, {"share": 0.5, "reason": ""}, {"expected_version": 0}]
)
def test_shares_that_can_not_be_are_refused(operator: httpx.Client, change: dict) -> None:
    assert operator.post("/v1/experiments/small/traffic", json={"reason": "x", **change}).status_code == 400


def test_metrics_count_what_was_answered(operator: httpx.Client) -> None:
    ask(operator)
    text = operator.get("/metrics").text
    assert 'ragtrial_requests_total{arm="' in text
    assert 'outcome="answered"' in text


def test_many_at_once_are_all_answered(service: Live) -> None:
    import concurrent.futures

    with service.client("tester") as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: ask(client, f"crowd-{n % 40}", f"where is the anchor {n}"), range(160)))
    assert len({answer["trial_id"] for answer in answers}) == 160
    by_unit: dict[int, set[str]] = {}
    for number, answer in enumerate(answers):
        by_unit.setdefault(number % 40, set()).add(answer["arm"])
    assert all(len(arms) == 1 for arms in by_unit.values())
