"""What a tester says reaches the service in the order in which they said it, also where they change their mind while it is on its way."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from over_http import running

pytest.importorskip("streamlit", reason="streamlit is not installed: the tester's page was not run")

from ragtrial_board.asking import Service, Trouble, Vote
from ragtrial_board.saving import Slot

GOOD, POOR = Vote(thumb="up"), Vote(thumb="down")


class SlowService:
    """Takes votes, and answers each one when it is told to; a vote that came is in `votes` before it is answered."""

    def __init__(self) -> None:
        self.votes: list[tuple[str, str]] = []
        self.arrived, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.status = 200

    def feedback(self, body: dict[str, Any]) -> Response:
        self.votes.append((body["thumb"], body["key"]))
        self.arrived.release()
        assert self.go.acquire(timeout=60)
        return JSONResponse({} if self.status == 200 else {"error": {"code": "x", "message": "no"}}, status_code=self.status)

    def thumbs(self) -> list[str]:
        return [thumb for thumb, _ in self.votes]


@contextmanager
def slow_service() -> Iterator[tuple[SlowService, Service]]:
    app, slow = FastAPI(), SlowService()
    app.add_api_route("/v1/feedback", slow.feedback, methods=["POST"])
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield slow, Service(client, "")


def sender(slot: Slot[Vote], service: Service) -> threading.Thread:
    """A run of the page that comes to the slot."""

    def sending(vote: Vote, key: str) -> None:
        service.vote("trial_1", None, vote, key=key)

    thread = threading.Thread(target=slot.send, args=(sending,))
    thread.start()
    return thread


def test_a_change_of_mind_while_a_vote_is_on_its_way_is_sent_after_it() -> None:
    with slow_service() as (slow, service):
        slot: Slot[Vote] = Slot()
        slot.say(GOOD)
        first = sender(slot, service)
        assert slow.arrived.acquire(timeout=60)
        slot.say(POOR)
        second = sender(slot, service)
        assert not slow.arrived.acquire(timeout=0.3), "one is sent at a time, or the last to arrive may not be the last one"
        slow.go.release()
        first.join()
        assert (slot.latest, slot.saved) == (POOR, False), "the answer to the first vote says nothing of the second"
        slow.go.release()
        second.join()
        assert (slot.latest, slot.saved, slot.trouble) == (POOR, True, None)
    assert slow.thumbs() == ["up", "down"]


def test_a_change_of_mind_that_nobody_has_sent_yet_is_still_to_be_sent() -> None:
    with slow_service() as (slow, service):
        slot: Slot[Vote] = Slot()
        slot.say(GOOD)
        first = sender(slot, service)
        assert slow.arrived.acquire(timeout=60)
        slot.say(POOR)
        slow.go.release(2)
        first.join()
        assert (slot.latest, slot.saved) == (POOR, False)
        sender(slot, service).join()
        assert (slot.latest, slot.saved) == (POOR, True)
    assert slow.thumbs() == ["up", "down"]


def test_the_trouble_of_a_vote_that_was_overtaken_is_not_that_of_the_next_one() -> None:
    with slow_service() as (slow, service):
        slot: Slot[Vote] = Slot(GOOD)
        slot.say(POOR)
        slow.status = 500
        first = sender(slot, service)
        assert slow.arrived.acquire(timeout=60)
        slot.say(GOOD)
        slow.go.release()
        first.join()
        assert (slot.saved, slot.trouble) == (False, None)
        slow.status = 200
        slow.go.release()
        sender(slot, service).join()
        assert (slot.latest, slot.saved, slot.trouble) == (GOOD, True, None)


def test_runs_that_come_to_the_same_vote_send_it_once_and_a_retry_has_its_key() -> None:
    with slow_service() as (slow, service):
        slot: Slot[Vote] = Slot()
        slot.say(GOOD)
        slow.status = 503
        runs = [sender(slot, service) for _ in range(3)]
        slow.go.release()
        for run in runs:
            run.join()
        assert isinstance(slot.trouble, Trouble)
        slow.status = 200
        slot.again()
        slow.go.release()
        sender(slot, service).join()
        slot.say(GOOD)
        sender(slot, service).join()
        assert slot.saved
    assert slow.thumbs() == ["up", "up"]
    assert len({key for _, key in slow.votes}) == 1
