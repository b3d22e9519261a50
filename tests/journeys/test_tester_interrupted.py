"""The tester's page when something comes between, in a real browser: the service is gone, answers are lost, a key ends, a mind is changed."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tester_pages import (
    Standing,
    Visit,
    served_page,
    thumbs,
    trials_of,
    wait_until,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    with served_page(tmp_path_factory.mktemp("tester")) as started:
        yield started


@pytest.fixture(autouse=True)
def _nothing_in_the_way(standing: Standing) -> Iterator[None]:
    yield
    standing.between.losing = False
    standing.between.open.set()


def test_a_killed_service_is_said_nothing_is_lost_and_it_counts_once_when_it_is_back(browser: "Browser", standing: Standing) -> None:
    asked = "where is the hawser of pw0011"
    with (
        Visit(browser, standing.url, standing.key()) as visit,
        Visit(browser, standing.url, standing.key()) as other,
    ):
        visit.ask("where is the hull of pw0010")
        voted_on = visit.trial_id
        visit.button("Good answer").click()
        visit.says("Saved: a good answer.")
        standing.service.kill()
        try:
            visit.page.get_by_label("What is good about it?").fill("typed while it was away")
            visit.button("Save details").click()
            visit.says("Not saved. The connection to the service is lost.")
            visit.rest()
            assert visit.page.get_by_text("Saved:").count() == 0
            assert visit.page.get_by_label("What is good about it?").input_value() == "typed while it was away"
            visit.button("Try to save it again").click()
            visit.says("Not saved. The connection to the service is lost.")
            other.question.fill(asked)
            other.question.press("Enter")
            other.says("The connection to the service is lost.")
            wait_until(lambda: other.question.input_value() == asked)  # what was typed is kept
        finally:
            standing.service.start()
        visit.button("Try to save it again").click()
        visit.says("Saved: a good answer, with a comment.")
        other.button("Ask again").click()
        other.button("Good answer").wait_for()
    assert thumbs(standing.log, voted_on) == [("up", (), ""), ("up", (), "typed while it was away")]
    assert len(trials_of(standing.log, asked)) == 1


def test_answers_that_are_lost_on_the_way_are_asked_for_again_and_counted_once(browser: "Browser", standing: Standing) -> None:
    asked = "where is the helm of pw0012"
    with Visit(browser, standing.url, standing.key()) as visit:
        standing.between.losing = True
        visit.question.fill(asked)
        visit.question.press("Enter")
        visit.says("The connection to the service is lost.")
        (lost,) = trials_of(standing.log, asked)  # the service has answered, and nobody was told
        standing.between.losing = False
        visit.button("Ask again").click()
        visit.page.wait_for_url("**trial=*")
        assert visit.trial_id == lost.trial_id
        standing.between.losing = True
        visit.button("Poor answer").click()
        visit.says("Not saved.")
        assert [thumb for thumb, _, _ in thumbs(standing.log, lost.trial_id)] == ["down"]
        standing.between.losing = False
        visit.button("Try to save it again").click()
        visit.says("Saved: a poor answer.")
    assert [thumb for thumb, _, _ in thumbs(standing.log, lost.trial_id)] == ["down"]
    assert len(trials_of(standing.log, asked)) == 1


def test_a_page_that_runs_again_while_it_waits_asks_and_votes_once(browser: "Browser", standing: Standing) -> None:
    asked = "where is the mast of pw0013"
    with Visit(browser, standing.url, standing.key()) as visit:
        standing.between.open.clear()
        before = standing.between.held
        visit.question.fill(asked)
        visit.question.press("Enter")
        wait_until(lambda: standing.between.held > before)
        visit.says("Looking for an answer")
        run_again(visit)
        standing.between.open.set()
        visit.button("Good answer").wait_for()
        standing.between.open.clear()
        before = standing.between.held
        visit.button("Good answer").click()
        wait_until(lambda: standing.between.held > before)
        assert visit.says("Saving").is_visible()
        assert visit.page.get_by_text("Saved").count() == 0, "not before the service has said so"
        run_again(visit)
        standing.between.open.set()
        visit.says("Saved: a good answer.")
        assert [thumb for thumb, _, _ in thumbs(standing.log, visit.trial_id)] == ["up"]
    assert len(trials_of(standing.log, asked)) == 1


def test_a_change_of_mind_while_a_vote_is_on_its_way_is_the_one_that_counts(browser: "Browser", standing: Standing) -> None:
    with Visit(browser, standing.url, standing.key()) as visit:
        visit.ask("where is the rudder of pw0018")
        standing.between.open.clear()
        before = standing.between.held
        visit.button("Good answer").click()
        wait_until(lambda: standing.between.held > before)
        visit.button("Poor answer").click()
        visit.button("✓ Poor answer").wait_for()
        standing.between.open.set()
        visit.says("Saved: a poor answer.")
        assert [thumb for thumb, _, _ in thumbs(standing.log, visit.trial_id)] == ["up", "down"]
        visit.page.reload()
        visit.says("Saved: a poor answer.")


def run_again(visit: Visit) -> None:
    """By Streamlit's own key for it, several times."""
    visit.page.locator("h1").click()
    for _ in range(3):
        visit.page.keyboard.press("r")
        visit.page.wait_for_timeout(100)


def test_somebody_elses_answer_is_not_there_and_that_is_said(browser: "Browser", standing: Standing) -> None:
    with Visit(browser, standing.url, standing.key()) as visit:
        visit.ask("what is the winch of pw0017")
        theirs = visit.trial_id
    with Visit(browser, standing.url, standing.key("somebody else"), at=f"/?trial={theirs}") as visit:
        visit.says("There is no such answer here.")
        visit.says("everyone sees only what they asked themselves")
        assert visit.page.locator(".t-answer").count() == 0
        visit.ask("what is the winch of pw0017")
        assert visit.trial_id != theirs


def test_the_door_takes_keys_that_the_service_takes_and_leads_back_to_where_one_was_going(browser: "Browser", standing: Standing) -> None:
    key = standing.key()
    with Visit(browser, standing.url, None, at="/?mode=side") as visit:
        assert visit.page.url == f"{standing.url}/login?next=%2F%3Fmode%3Dside"
        visit.page.get_by_label("API key").fill("rt_nobody_knows")
        visit.button("Sign in").click()
        visit.says("The service does not accept your key.")
        visit.page.get_by_label("API key").fill(key)
        visit.button("Sign in").click()
        visit.says("You get two answers")
        assert visit.page.url == f"{standing.url}/?mode=side"
        cookies = visit.context.cookies()
        assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies if cookie["name"].startswith("ragtrial_tester")] == [
            (True, "Lax")
        ]
        assert key not in json.dumps(cookies)
        visit.page.goto(f"{standing.url}/logout")
        assert visit.page.url == f"{standing.url}/login"
        visit.page.goto(standing.url)
        assert visit.page.url == f"{standing.url}/login"


def test_a_key_that_is_revoked_or_asks_too_often_is_told_in_plain_words(browser: "Browser", standing: Standing) -> None:
    slow, gone = standing.key(rate_per_minute=1), standing.key()
    with Visit(browser, standing.url, slow) as visit:
        visit.question.fill("what is the tug of pw0019")  # signing in was the first request
        visit.question.press("Enter")
        visit.says("That was faster than your key may ask.")
        visit.says("Try again in")
        wait_until(lambda: visit.question.input_value() == "what is the tug of pw0019")
    with Visit(browser, standing.url, gone) as visit:
        standing.revoke(gone)
        visit.question.fill("what is the tug of pw0020")
        visit.question.press("Enter")
        visit.says("The service does not accept your key.")
        visit.page.get_by_role("link", name="Sign in").wait_for()
