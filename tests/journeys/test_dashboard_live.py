"""The page of a live experiment in a real browser, over the real service and its log: what operators do there, and that it keeps its place."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from board_pages import Visit, dashboard
from live_service import Live, live, live_experiment
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.traffic import TrafficStore
from ragtrial.domain.live import TrafficState
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.splitting import Split
from ragtrial.suite.rolling import roll_once

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

QUESTION = "what is the anchor of pw0003"


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service that has answered some users, and whose log was summed up."""
    with live(live_experiment(tmp_path_factory.mktemp("live"))) as served:
        for number in range(12):
            ask(served, f"user-{number}")
        assert roll_once(log_of(served)).errors == ()
        yield served


def log_of(service: Live) -> str:
    return sql_url(load_experiment(service.path))


def ask(service: Live, unit: str) -> dict[str, str]:
    with service.client("operator") as client:
        response = client.post("/v1/ask", json={"query": QUESTION, "unit": unit})
    assert response.status_code == 200, response.text
    found: dict[str, str] = response.json()
    return found


@contextlib.contextmanager
def signed_in(browser: "Browser", service: Live, role: str) -> Iterator[Visit]:
    """Somebody with a key of this role, on the page of the live experiment."""
    with dashboard(log_of(service), no_auth=False) as board, Visit(browser, f"{board.url}/login?next=/live") as visit:
        visit.page.fill("#key", service.keys[role])
        visit.page.get_by_role("button", name="Sign in").click()
        visit.page.wait_for_selector(".rt-heading h1")
        visit.page.wait_for_selector("text=Planner")
        visit.rest()
        yield visit


def unit_that_leaves(service: Live, share: float) -> str:
    """A unit that gets custom while everybody takes part, and is outside at this share."""
    split = Split.of(load_experiment(service.path).experiment)
    full, ramped = (TrafficState(version=1, share=each, treatment=0.5) for each in (1.0, share))
    units = (f"somebody-{number}" for number in range(1000))
    return next(u for u in units if split.assign(u, full).arm == "custom" and split.assign(u, ramped).reason == "outside")


def wait_for_text(page: "Page", text: str, *, within_s: float = 60.0) -> None:
    page.get_by_text(text).first.wait_for(timeout=1000 * within_s)


def test_an_operator_ramps_down_and_the_next_request_obeys(browser: "Browser", service: Live) -> None:
    leaving = unit_that_leaves(service, 0.1)
    assert ask(service, leaving)["arm"] == "custom"
    with signed_in(browser, service, "operator") as visit:
        page = visit.page
        assert "100% of the units take part, 50% of them get custom" in visit.text()
        page.get_by_role("button", name="Change the share …").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Units that take part, in per cent").fill("10")
        dialog.get_by_label("Units that take part, in per cent").press("Tab")
        dialog.get_by_role("button", name="Set it to 10%").wait_for()
        visit.rest()
        told = dialog.inner_text()
        assert "90% of the units leave: they get the baseline from their next query on" in told
        assert "10% of the units then take part: 5% get custom, 5% the baseline." in told
        dialog.get_by_role("button", name="Set it to 10%").click()
        wait_for_text(page, "Say why: a change without a reason is not made.")
        dialog.get_by_label("Why").fill("users complain ![x](http://example.org/x.png)")
        dialog.get_by_role("button", name="Set it to 10%").click()
        wait_for_text(page, "Done: 10% of the units take part")
        time.sleep(1.0)
        obeyed = ask(service, leaving)
        assert (obeyed["arm"], obeyed["assignment_reason"]) == ("baseline", "outside")
        wait_for_text(page, "50% of them get custom (version 2, by a operator)")
        visit.rest()
        assert "10% of the units take part, 50% of them get custom (version 2, by a operator)" in visit.text()
        assert "users complain ![x](http://example.org/x.png)" in visit.text(), "as it was typed, and nothing loaded for it"
        assert visit.outside() == []
        assert page.get_by_role("heading", name="Audit log").count() == 0, "that is for admins"
    with LiveReader(log_of(service)) as reader:
        entry = reader.audit_log(1)[0]
    assert (entry.actor, entry.action, entry.detail["to"]["share"]) == ("a operator", "change traffic", 0.1)


def test_whoever_only_looks_has_no_such_control_and_an_admin_reads_the_audit_log(browser: "Browser", service: Live) -> None:
    with TrafficStore(log_of(service)) as store:
        store.change(1, expected_version=1, actor="ann", reason="the first day went well", share=0.5)
    with signed_in(browser, service, "viewer") as visit:
        assert "50% of the units take part" in visit.text()
        assert "the first day went well" in visit.text()
        assert visit.page.get_by_role("button", name="Stop custom").count() == 0
        assert visit.page.get_by_role("button", name="Change the share").count() == 0
        assert "Audit log" not in visit.text()
    with signed_in(browser, service, "admin") as visit:
        visit.page.get_by_role("button", name="Stop custom").wait_for()
        wait_for_text(visit.page, "Who changed what, and why")


def test_the_page_refreshes_itself_and_nobody_loses_their_place_or_their_words(browser: "Browser", service: Live) -> None:
    with signed_in(browser, service, "operator") as visit:
        page = visit.page
        page.get_by_text("History: 0 changes since the start").click()
        page.get_by_text("All 2 metrics").click()
        page.get_by_text("All 2 metrics").scroll_into_view_if_needed()
        top = "document.querySelector('[data-testid=stMain]').scrollTop"
        before = page.evaluate(top)
        assert before > 300
        with TrafficStore(log_of(service)) as store:
            store.change(1, expected_version=1, actor="bob", reason="calm", share=0.2)
        wait_for_text(page, "20% of the units take part")
        visit.rest()
        assert abs(page.evaluate(top) - before) < 40
        assert page.locator("details[open]", has_text="All 2 metrics").is_visible(), "what was open stays open"
        wait_for_text(page, "History: 1 change since the start")

        page.get_by_role("button", name="Stop custom …").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Why").fill("I am still typing")
        with TrafficStore(log_of(service)) as store:
            store.change(1, expected_version=2, actor="bob", reason="calmer", share=0.1)
        wait_for_text(page, "History: 2 changes since the start")
        assert dialog.get_by_label("Why").input_value() == "I am still typing"
        dialog.get_by_role("button", name="Stop custom now").click()
        wait_for_text(page, "Nothing was done: bob has changed the traffic meanwhile.")
    with LiveReader(log_of(service)) as reader:
        assert (reader.traffic(1).version, reader.traffic(1).stopped) == (3, False)


def test_a_stop_gives_everyone_the_baseline_and_can_be_taken_back(browser: "Browser", service: Live) -> None:
    custom = unit_that_leaves(service, 0.1)
    with signed_in(browser, service, "operator") as visit:
        page = visit.page
        page.get_by_role("button", name="Stop custom …").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Stop custom now").wait_for()
        visit.rest()
        assert "Everyone gets the baseline from the next query on, within a second; nobody gets custom." in dialog.inner_text()
        dialog.get_by_label("Why").fill("wrong language")
        dialog.get_by_role("button", name="Stop custom now").click()
        wait_for_text(page, "Done: stopped by a operator: everyone gets the baseline")
        time.sleep(1.0)
        assert ask(service, custom)["assignment_reason"] == "stopped"
        page.get_by_role("button", name="Start again …").click()
        dialog.get_by_label("Why").fill("mended")
        dialog.get_by_role("button", name="Start with 100%").click()
        wait_for_text(page, "Done: 100% of the units take part")
        time.sleep(1.0)
        assert ask(service, custom)["arm"] == "custom"
