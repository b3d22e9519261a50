"""Answers shown again, and two of them beside each other, over HTTP."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from live_service import Live, live, live_experiment, make_key
from ragtrial.db.keys import KeyStore
from ragtrial.db.live_reader import LiveReader
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.splitting import pseudonym

QUESTION = "what is the anchor of pw0003"
ARMS = ("baseline", "custom")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(live_experiment(tmp_path_factory.mktemp("comparing"))) as served:
        yield served


@pytest.fixture
def tester(service: Live) -> Iterator[httpx.Client]:
    with service.client("tester") as client:
        yield client


@pytest.fixture
def log(service: Live) -> Iterator[LiveReader]:
    with LiveReader(sql_url(load_experiment(service.path))) as reader:
        yield reader


def ask(client: httpx.Client, query: str = QUESTION, unit: str | None = "user-1") -> dict:
    response = client.post("/v1/ask", json={"query": query, "unit": unit})
    assert response.status_code == 200, response.text
    return response.json()


def compare(client: httpx.Client, query: str = QUESTION, unit: str | None = "user-1", key: str | None = None) -> dict:
    headers = {} if key is None else {"Idempotency-Key": key}
    response = client.post("/v1/comparisons", json={"query": query, "unit": unit}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def prefer(client: httpx.Client, comparison: dict, choice: str, **more: object) -> httpx.Response:
    return client.post("/v1/preferences", json={"comparison_id": comparison["comparison_id"], "choice": choice, **more})


def test_an_answer_is_shown_again_with_the_votes_that_hold(tester: httpx.Client) -> None:
    answer = ask(tester)
    source = answer["sources"][0]["passage_id"]
    address = f"/v1/answers/{answer['trial_id']}"
    fresh = tester.get(address).json()
    assert (fresh["query"], fresh["answer"], fresh["abstained"], fresh["vote"]) == (QUESTION, answer["answer"], False, None)
    assert [{**one, "vote": None} for one in answer["sources"]] == fresh["sources"]
    assert fresh["solicit_rating"] == answer["solicit_rating"]
    vote = {"trial_id": answer["trial_id"], "thumb": "up"}
    tester.post("/v1/feedback", json=vote)
    tester.post("/v1/feedback", json={**vote, "thumb": "down", "tags": ["incomplete", "outdated"], "comment": "see the new rules"})
    tester.post("/v1/feedback", json={**vote, "passage_id": source})
    seen = tester.get(address).json()
    assert seen["vote"] == {"thumb": "down", "tags": ["incomplete", "outdated"], "comment": "see the new rules"}
    assert seen["sources"][0]["vote"] == {"thumb": "up", "tags": [], "comment": ""}
    for target in ({}, {"passage_id": source}):
        tester.post("/v1/feedback", json={**vote, **target, "thumb": "withdrawn"})
    gone = tester.get(address).json()
    assert (gone["vote"], {one["vote"] and 1 for one in gone["sources"]}) == (None, {None})


def test_answers_and_comparisons_of_others_are_not_there_in_the_words_of_those_that_never_were(service: Live, tester: httpx.Client) -> None:
    answer, both = ask(tester), compare(tester)
    with service.client("admin") as other:
        for path, name, unknown in (
            ("/v1/answers/", answer["trial_id"], "unknown_trial"),
            ("/v1/comparisons/", both["comparison_id"], "unknown_comparison"),
        ):
            theirs, nobodys = other.get(path + name), other.get(path + "nobody")
            assert (theirs.status_code, nobodys.status_code) == (404, 404)
            assert theirs.json()["error"]["code"] == unknown
            assert theirs.text.replace(name, "...") == nobodys.text.replace("nobody", "...")
        refused = [prefer(other, {"comparison_id": name}, "left") for name in (both["comparison_id"], "nobody")]
        assert [(one.status_code, one.json()["error"]["param"]) for one in refused] == [(404, "comparison_id")] * 2
    assert tester.get(f"/v1/comparisons/{both['comparison_id']}").json()["choice"] is None


def test_another_key_of_the_same_holder_finds_the_answers(service: Live, tester: httpx.Client) -> None:
    answer = ask(tester)
    renewed = make_key(service.path, "tester")
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {renewed}"}) as client:
        assert client.get(f"/v1/answers/{answer['trial_id']}").status_code == 200


def test_two_answers_are_logged_outside_the_split_and_together_with_their_comparison(tester: httpx.Client, log: LiveReader) -> None:
    both = compare(tester, unit="somebody")
    stored = log.comparison(both["comparison_id"])
    assert stored is not None
    assert {trial.trial.arm for trial in stored.trials} == set(ARMS)
    for side, trial in zip(("left", "right"), stored.trials, strict=True):
        assert trial.assignment.reason == "override"
        assert trial.trial.answer is not None
        assert trial.trial.answer.text == both[side]["answer"]
        assert set(trial.trial.answer.cited) == {source["passage_id"] for source in both[side]["sources"] if source["cited"]}
    assert (stored.unit, stored.caller) == (pseudonym("somebody"), "a tester")


def test_nothing_that_a_tester_is_told_names_the_arms_or_the_trials(tester: httpx.Client, log: LiveReader) -> None:
    answer = ask(tester)
    both = compare(tester)
    prefer(tester, both, "left")
    told = [
        tester.get(f"/v1/answers/{answer['trial_id']}").text,
        tester.get(f"/v1/comparisons/{both['comparison_id']}").text,
        str(both),
    ]
    stored = log.comparison(both["comparison_id"])
    assert stored is not None
    for text in told:
        for word in (*ARMS, "control", "treatment", "similarity", "latency", *(trial.trial_id for trial in stored.trials)):
            assert word not in text, word
    assert list(both["left"]) == list(both["right"]) == ["answer", "abstained", "sources"]


def test_the_order_is_drawn_and_the_same_when_shown_again(tester: httpx.Client, log: LiveReader) -> None:
    left = []
    for number in range(20):
        both = compare(tester, f"what is the anchor of pw{number:04}")
        again = tester.get(f"/v1/comparisons/{both['comparison_id']}").json()
        assert (again["left"], again["right"]) == (both["left"], both["right"])
        stored = log.comparison(both["comparison_id"])
        assert stored is not None
        left.append(stored.left.trial.arm)
    assert set(left) == set(ARMS), "one order in 20: once in 500,000"


def test_the_last_preference_counts_and_the_history_is_kept(tester: httpx.Client, log: LiveReader) -> None:
    both = compare(tester)
    address = f"/v1/comparisons/{both['comparison_id']}"
    said = {"comment": "shorter", "key": "p1"}
    assert prefer(tester, both, "left", **said).json() == {"outcome": "recorded"}
    assert prefer(tester, both, "left", **said).json() == {"outcome": "repeated"}
    assert (tester.get(address).json()["choice"], tester.get(address).json()["comment"]) == ("left", "shorter")
    assert prefer(tester, both, "neither").json() == {"outcome": "recorded"}
    assert tester.get(address).json()["choice"] == "neither"
    withdrawn = {"comparison_id": both["comparison_id"], "choice": "withdrawn"}
    for outcome in ("recorded", "repeated"):
        response = tester.post("/v1/preferences", json=withdrawn, headers={"Idempotency-Key": "p3"})
        assert response.json() == {"outcome": outcome}
    assert (tester.get(address).json()["choice"], tester.get(address).json()["comment"]) == (None, "")
    assert [each.choice for each in log.preferences_of(both["comparison_id"])] == ["left", "neither", "withdrawn"]
    assert prefer(tester, both, "middle").status_code == 400
    assert prefer(tester, both, "left", comment="x" * 4001).status_code == 400


def test_the_same_idempotency_key_gets_the_same_two_answers(service: Live, tester: httpx.Client) -> None:
    key = uuid.uuid4().hex
    first, again = compare(tester, key=key), compare(tester, key=key)
    assert (again.pop("replayed"), first.pop("replayed")) == (True, False)
    assert again == first
    other = tester.post("/v1/comparisons", json={"query": "something else", "unit": "user-1"}, headers={"Idempotency-Key": key})
    assert other.status_code == 400
    with service.client("operator") as operator:
        assert compare(operator, key=key)["comparison_id"] != first["comparison_id"], "a key belongs to its caller"


def test_the_unit_of_a_trusted_header_counts(service: Live, log: LiveReader) -> None:
    trusted = make_key(service.path, "tester", may_assert_user=True)
    headers = {"Authorization": f"Bearer {trusted}", "X-User-Id": "of the proxy"}
    both = httpx.post(f"{service.url}/v1/comparisons", headers=headers, json={"query": QUESTION, "unit": "of the body"}).json()
    stored = log.comparison(both["comparison_id"])
    assert stored is not None
    assert stored.unit == pseudonym("of the proxy")


def test_a_stopped_experiment_has_nothing_to_compare(service: Live, tester: httpx.Client) -> None:
    both = compare(tester)
    with service.client("operator") as operator:
        change = "/v1/experiments/small/traffic"
        assert operator.post(change, json={"stopped": True, "reason": "wrong language"}).status_code == 200
        try:
            refused = tester.post("/v1/comparisons", json={"query": QUESTION})
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "stopped")
            assert tester.get(f"/v1/comparisons/{both['comparison_id']}").status_code == 200
        finally:
            operator.post(change, json={"stopped": False, "reason": "mended"})


@pytest.mark.parametrize(
    "body", [{}, {"query": ""}, {"query": "  "}, {"query": "x" * 8001}, {"query": "a\0b"}, {"query": "x", "arm": "custom"}]
)
def test_what_is_no_question_is_refused(tester: httpx.Client, body: dict) -> None:
    assert tester.post("/v1/comparisons", json=body).status_code == 400


def test_a_revoked_holder_gets_nothing_back(service: Live, tester: httpx.Client) -> None:
    answer = ask(tester)
    key = make_key(service.path, "tester")
    with KeyStore(sql_url(load_experiment(service.path))) as store:
        store.revoke(key.split("_")[1], "tests")
    refused = httpx.get(f"{service.url}/v1/answers/{answer['trial_id']}", headers={"Authorization": f"Bearer {key}"})
    assert refused.status_code == 401
