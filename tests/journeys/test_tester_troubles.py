"""What a tester is told when something is in the way: in plain words, with what to do, and never a traceback."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse

from live_service import Live, live, live_experiment, make_key
from over_http import StandIn, running
from ragtrial.api.app import ApiOptions, create_app
from ragtrial.serving.service import Question, Served

pytest.importorskip("streamlit", reason="streamlit is not installed: the tester's page was not run")

from streamlit.testing.v1 import AppTest

from ragtrial_board.asking import Preferred, Service, Trouble, Vote

TESTER = Path(__file__).resolve().parents[2] / "dashboards" / "tester.py"
QUESTION = "what is the anchor of pw0003"


class Unlogged(StandIn):
    """Answers while it can't keep a record."""

    async def ask(self, question: Question) -> Served:
        return replace(await super().ask(question), logged=False)


@pytest.fixture(scope="module")
def stand_in() -> Iterator[str]:
    with running(create_app(StandIn(), None, sql_url="sqlite:///nowhere.db", options=ApiOptions(warm_first=True))) as url:
        yield url


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(live_experiment(tmp_path_factory.mktemp("troubles"))) as served:
        yield served


def service(url: str, key: str = "") -> Service:
    return Service(httpx.Client(base_url=url), key)


def trouble_of(what: Any, *given: Any, **named: Any) -> Trouble:
    with pytest.raises(Trouble) as found:
        what(*given, **named)
    return found.value


@pytest.mark.parametrize(
    ("asked", "kind", "title", "advice"),
    [
        ("overloaded", "busy", "The service can't take this just now.", "Try again in 2 seconds."),
        ("starting", "busy", "The service is starting.", "Try again in 1 second."),
        ("failing", "failed", "No answer came.", "Ask again, or ask in other words."),
        ("store", "busy", "The service can't take this just now.", "Try again in 1 second."),
        ("fault", "fault", "The service has a fault.", "err_"),
        (" ", "refused", "The service can't use this.", "query is blank"),
        ("x" * 9000, "refused", "The service can't use this.", "at most 8000 characters"),
        ("x" * 90_000, "refused", "This is too long for the service.", "fewer words"),
    ],
    ids=lambda value: value.strip()[:12] if isinstance(value, str) else value,
)
def test_every_error_of_the_service_is_said_with_what_to_do(stand_in: str, asked: str, kind: str, title: str, advice: str) -> None:
    trouble = trouble_of(service(stand_in).ask, asked, unit="u", key="k")
    assert (trouble.kind, trouble.title) == (kind, title)
    assert advice in trouble.advice
    for word in ("secret", "Traceback", "/", "trial_"):
        assert word not in f"{trouble.title} {trouble.advice}"


def test_keys_that_do_not_open_the_service_are_said(real: Live) -> None:
    limited = make_key(real.path, "tester", scopes=["feedback"])
    for key, title in (
        ("", "The service does not accept your key."),
        ("rt_nobody_knows", "The service does not accept your key."),
        ("schlüssel", "The service does not accept your key."),
        (real.keys["viewer"], "Your key is not allowed to do this."),
        (limited, "Your key is not allowed to do this."),
    ):
        trouble = trouble_of(service(real.url, key).check)
        assert (trouble.kind, trouble.title) == ("key", title)
    service(real.url, real.keys["tester"]).check()


def test_too_many_requests_are_told_when_to_come_back(real: Live) -> None:
    hasty = service(real.url, make_key(real.path, "tester", rate_per_minute=1))
    begin = time.monotonic()
    hasty.check()
    trouble = trouble_of(hasty.check)
    waited = time.monotonic() - begin
    assert (trouble.kind, trouble.title) == ("busy", "That was faster than your key may ask.")
    seconds = int(trouble.advice.removeprefix("Try again in ").partition(" ")[0])
    assert 59 - waited <= seconds <= 60


def test_what_is_not_there_and_what_is_stopped_are_said(real: Live) -> None:
    tester = service(real.url, real.keys["tester"])
    for missing in (lambda: tester.answer("trial_nobody/../x"), lambda: tester.comparison("nobody")):
        assert trouble_of(missing).kind == "not there"
    for refused in (
        lambda: tester.vote("nobody", None, Vote(thumb="up"), key="k"),
        lambda: tester.prefer("nobody", Preferred(choice="left"), key="k"),
    ):
        assert trouble_of(refused).kind == "not there"
    with real.client("operator") as operator:
        operator.post("/v1/experiments/small/traffic", json={"stopped": True, "reason": "x"})
        try:
            assert trouble_of(tester.compare, QUESTION, unit="u", key="k").kind == "stopped"
            assert tester.ask(QUESTION, unit="u", key="k").trial_id
        finally:
            operator.post("/v1/experiments/small/traffic", json={"stopped": False, "reason": "x"})


def test_nobody_at_the_address_and_somebody_else_at_it_are_said() -> None:
    assert trouble_of(service("http://127.0.0.1:9").check).kind == "lost"
    assert trouble_of(service("http://no such host").check).kind == "lost"
    stranger = FastAPI()
    stranger.add_api_route("/v1/models", lambda: PlainTextResponse("hello", status_code=418))
    stranger.add_api_route("/v1/ask", lambda: {"hello": 1}, methods=["POST"])
    with running(stranger) as url:
        for trouble in (trouble_of(service(url).check), trouble_of(service(url).ask, "x", unit="u", key="k")):
            assert (trouble.kind, trouble.title) == ("fault", "What answers is not the service.")


def test_operators_are_shown_no_more_than_testers(real: Live) -> None:
    for role in ("tester", "operator"):
        found = service(real.url, real.keys[role]).ask(QUESTION, unit="u", key="k")
        assert "custom" not in repr(found)
        assert "baseline" not in repr(found)


def page(monkeypatch: pytest.MonkeyPatch, url: str, key: str = "rt_a_b", **params: str) -> AppTest:
    """The page's logic without a browser."""
    monkeypatch.setenv("RAGTRIAL_TESTER", json.dumps({"service": url}))
    monkeypatch.setenv("RAGTRIAL_TESTER_KEY", key)
    test = AppTest.from_file(str(TESTER), default_timeout=60)
    for name, value in params.items():
        test.query_params[name] = value
    return test.run()


def shown(test: AppTest) -> str:
    assert not test.exception
    return " ".join(element.proto.body for element in test.get("html"))


def test_an_answer_that_was_not_recorded_has_no_vote_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(create_app(Unlogged(), None, sql_url="sqlite:///nowhere.db", options=ApiOptions(warm_first=True))) as url:
        test = page(monkeypatch, url)
        test.chat_input[0].set_value("where is the quay").run()
        assert "This answer was not recorded, so it can't be voted on" in shown(test).replace("&#x27;", "'")
        assert "Answer to" in shown(test)
        assert "trial" not in test.query_params
        assert [button.label for button in test.button] == ["Compare two answers"]


def test_a_trouble_keeps_the_question_and_another_question_is_another_request(monkeypatch: pytest.MonkeyPatch, stand_in: str) -> None:
    test = page(monkeypatch, stand_in)
    test.chat_input[0].set_value("failing").run()
    assert "No answer came." in shown(test)
    assert "failing" in shown(test), "the question stands above"
    first = test.session_state["pending"]
    test.button(key="ask-again").click().run()
    assert test.session_state["pending"].key == first.key, "asking again is the same request"
    test.chat_input[0].set_value("overloaded").run()
    assert "just now." in shown(test)
    assert test.session_state["pending"].key != first.key
    test.chat_input[0].set_value("where is the quay").run()
    assert "pending" not in test.session_state
    assert "Answer to" in shown(test)


def test_an_answer_that_abstains_says_so(monkeypatch: pytest.MonkeyPatch, stand_in: str) -> None:
    test = page(monkeypatch, stand_in)
    test.chat_input[0].set_value("abstain").run()
    assert "No answer: the documents hold none that fits." in shown(test)


def test_the_same_thumb_twice_is_one_vote_and_a_change_of_mind_keeps_the_comment_and_no_tag_of_a_fault(
    monkeypatch: pytest.MonkeyPatch, real: Live
) -> None:
    key = real.keys["tester"]
    test = page(monkeypatch, real.url, key)
    test.chat_input[0].set_value(QUESTION).run()
    named = test.query_params["trial"]
    trial = named if isinstance(named, str) else named[0]
    for _ in range(2):
        test.button(key=f"down-{trial}").click().run()
    test.text_area(key=f"comment-{trial}").set_value("both of them")
    test.button_group(key=f"tags-{trial}").set_value(["incomplete"])
    next(button for button in test.button if button.label == "Save details").click().run()
    test.button(key=f"up-{trial}").click().run()
    assert "Saved: a good answer, with a comment." in shown(test)
    with real.client("operator") as operator:
        votes = operator.get(f"/v1/trials/{trial}").json()["votes"]
    assert [(vote["thumb"], vote["tags"], vote["comment"]) for vote in votes] == [
        ("down", [], ""),
        ("down", ["incomplete"], "both of them"),
        ("up", [], "both of them"),
    ]
    again = page(monkeypatch, real.url, key, trial=trial)
    assert "Saved: a good answer, with a comment." in shown(again)
