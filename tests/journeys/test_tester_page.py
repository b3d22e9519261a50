"""The tester's page in a real browser, over the real service and its database: ask, read, vote; and which of two is better."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from scripted_llm import Reply, ScriptedLlm
from tester_pages import (
    ARABIC,
    ARMS,
    HOSTILE,
    NAME,
    QUESTION,
    Standing,
    Visit,
    page_server,
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


def test_a_tester_asks_votes_changes_the_vote_reloads_and_the_row_is_in_sql_once_with_its_history(
    browser: "Browser", standing: Standing
) -> None:
    with Visit(browser, standing.url, standing.key()) as visit:
        visit.ask()
        trial = standing.log.trial(visit.trial_id)
        assert trial is not None
        assert (trial.query.text, trial.assignment.reason, trial.caller) == (QUESTION, "split", "a tester")
        assert trial.trial.answer is not None
        assert visit.page.locator(".t-answer .rt-plain").inner_text() == trial.trial.answer.text
        assert visit.says("Please rate this answer").is_visible()
        asked = visit.page.get_by_text(re.compile("What is (good|wrong)"))
        assert asked.count() == 0, "nothing suggests a judgment before there is one"
        visit.button("Good answer").click()
        visit.says("Saved: a good answer.")
        visit.says("What is good about it? (optional)")
        visit.rest()
        assert asked.count() == 1
        assert visit.button("incomplete").count() == 0
        visit.button("Poor answer").click()
        visit.says("Saved: a poor answer.")
        visit.says("What is wrong with it? (optional)")
        visit.rest()
        assert asked.count() == 1
        visit.page.get_by_role("button", name="incomplete").click()
        visit.page.get_by_label("Comment").fill("see the new rules")
        visit.button("Save details").click()
        visit.says("Saved: a poor answer, with 1 tag and a comment.")
        visit.button("Source 1 helps").click()
        visit.says("Saved: source 1 helps.")
        visit.page.reload()
        visit.says("Saved: a poor answer, with 1 tag and a comment.")
        visit.says("Saved: source 1 helps.")
        visit.button("✓ Poor answer").wait_for()
        assert visit.page.get_by_label("Comment").input_value() == "see the new rules"
        votes = thumbs(standing.log, visit.trial_id)
    source = trial.trial.ranking.passage_ids[0] if trial.trial.ranking else ""
    assert votes == [
        ("up", (), ""),
        ("down", (), ""),
        ("down", ("incomplete",), "see the new rules"),
        ("up", (), ""),
    ]
    assert [vote.passage_id for vote in standing.log.votes_of(trial.trial_id)] == [None, None, None, source]
    assert len(trials_of(standing.log, QUESTION)) == 1


def test_a_vote_is_withdrawn_and_stays_withdrawn_after_a_reload(browser: "Browser", standing: Standing) -> None:
    with Visit(browser, standing.url, standing.key()) as visit:
        visit.ask("where is the keel of pw0007")
        visit.button("Good answer").click()
        visit.says("Saved: a good answer.")
        visit.button("Withdraw").click()
        visit.says("Saved: your vote is withdrawn.")
        visit.page.reload()
        visit.button("Good answer").wait_for()
        assert visit.page.get_by_text("Saved").count() == 0
        assert visit.button("✓").count() == 0
        assert [thumb for thumb, _, _ in thumbs(standing.log, visit.trial_id)] == ["up", "withdrawn"]


def test_two_answers_are_compared_without_a_word_on_whose_they_are_and_a_reload_keeps_order_and_choice(
    browser: "Browser", standing: Standing
) -> None:
    def sides(visit: Visit) -> list[str]:
        visit.page.locator(".t-answer").nth(1).wait_for()
        return visit.page.locator(".t-answer").all_inner_texts()

    with Visit(browser, standing.url, standing.key(), at="/?mode=side") as visit:
        visit.compare("what is the capstan of pw0014")
        stored = standing.log.comparison(visit.comparison_id)
        assert stored is not None
        assert {trial.trial.arm for trial in stored.trials} == set(ARMS)
        answers = sides(visit)
        for trial, seen, name in zip(stored.trials, answers, ("Left", "Right"), strict=True):
            assert trial.trial.answer is not None
            assert seen.startswith(name)
            assert (trial.trial.answer.text or "No answer: the documents hold none that fits.") in seen
        same = len({trial.trial.answer and trial.trial.answer.text for trial in stored.trials}) == 1
        visit.rest()
        assert visit.page.get_by_text("Both say the same").count() == int(same)
        visit.button("Left is better").click()
        visit.says("Saved: left is better.")
        visit.button("Neither is good").click()
        visit.says("Saved: neither is good.")
        visit.page.get_by_label("Why?").fill("both miss the point")
        visit.button("Save comment").click()
        visit.says("Saved: neither is good, with a comment.")
        for _ in range(2):
            visit.page.reload()
            visit.says("Saved: neither is good, with a comment.")
            assert sides(visit) == answers
        visit.button("Withdraw").click()
        visit.says("Saved: your choice is withdrawn.")
        history = [(said.choice, said.comment) for said in standing.log.preferences_of(visit.comparison_id)]
        assert all(trial.assignment.reason == "override" for trial in stored.trials)
    assert history == [("left", ""), ("neither", ""), ("neither", "both miss the point"), ("withdrawn", "")]


def test_nothing_that_reaches_the_browser_names_the_arms_or_the_experiment(browser: "Browser", standing: Standing) -> None:
    key = standing.key()
    with Visit(browser, standing.url, key) as visit:
        visit.ask("what is the fender of pw0015")
        visit.button("Good answer").click()
        visit.says("Saved: a good answer.")
        visit.button("Compare two answers").click()
        visit.says("You get two answers")
        visit.compare("what is the fender of pw0015")
        visit.button("Both are good").click()
        visit.says("Saved: both are good.")
        visit.page.reload()
        visit.says("Saved: both are good.")
        pages = visit.page.content().encode()
        assert b"what is the fender of pw0015" in b"".join(visit.received), "what is received is seen here"
        for word in (key, *ARMS, NAME, "treatment", "similarity", "override", "hashing"):
            assert word.encode() not in b"".join(visit.received).lower(), word
            assert word.encode() not in pages.lower(), word
        assert all(url.startswith((standing.url, standing.url.replace("http", "ws"), "data:", "blob:")) for url in visit.asked)


def test_it_works_by_keyboard_alone(browser: "Browser", standing: Standing) -> None:
    def focused(visit: Visit) -> str:
        named = "a.innerText || a.getAttribute('aria-label') || ''"
        found = f"(a => a.matches('button, summary, textarea') ? {named} : '')(document.activeElement)"
        return str(visit.page.evaluate(found))

    def tab_to(visit: Visit, name: str) -> None:
        for _ in range(40):
            visit.page.keyboard.press("Tab")
            if name in focused(visit):
                return
        raise AssertionError(f"Tab does not come to {name!r}")

    with Visit(browser, standing.url, standing.key()) as visit:
        tab_to(visit, "Your question")
        visit.page.keyboard.type("what is the pallet of pw0016, good? Perhaps.")  # holds the letters of the shortcuts
        visit.page.keyboard.press("Enter")
        visit.button("Good answer").wait_for()
        visit.page.wait_for_url("**trial=*")
        assert thumbs(standing.log, visit.trial_id) == [], "typing is not voting"
        visit.rest()
        tab_to(visit, "Good answer")
        outline = visit.page.evaluate(
            "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
        )
        assert outline == "solid3px"
        visit.page.keyboard.press("Space")
        visit.says("Saved: a good answer.")
        visit.rest()
        assert "Good answer" in focused(visit), "the focus stays where one was"
        tab_to(visit, "What is good about it?")
        visit.page.keyboard.type("gp")
        tab_to(visit, "Save details")
        visit.page.keyboard.press("Enter")
        visit.says("Saved: a good answer, with a comment.")
        visit.page.locator("h1").click()
        visit.page.keyboard.press("p")
        visit.says("Saved: a poor answer, with a comment.")
        visit.rest()
        tab_to(visit, "wrong")
        visit.page.keyboard.press("ArrowRight")
        wait_until(lambda: focused(visit) == "wrong source")
        visit.page.keyboard.press("Enter")
        tab_to(visit, "Comment")
        tab_to(visit, "Save details")
        visit.page.keyboard.press("Enter")
        visit.says("Saved: a poor answer, with 1 tag and a comment.")
        visit.rest()
        summary = visit.page.locator(".t-source summary").first
        assert not visit.page.locator(".t-source .rt-plain").first.is_visible()
        summary.focus()
        visit.page.keyboard.press("Enter")
        visit.page.locator(".t-source .rt-plain").first.wait_for()
        tab_to(visit, "Source 1 does not")
        visit.page.keyboard.press("Enter")
        visit.says("Saved: source 1 does not help.")
        assert visit.page.locator(".t-source .rt-plain").first.is_visible(), "what was unfolded stays so"
        tab_to(visit, "Compare two answers")
        visit.page.keyboard.press("Enter")
        visit.says("You get two answers")
        visit.rest()
        tab_to(visit, "Your question")
        visit.page.keyboard.type("what is the pallet of pw0016")
        visit.page.keyboard.press("Enter")
        visit.button("Left is better").wait_for()
        visit.rest()
        visit.page.locator("h1").click()
        for pressed, saved in (
            ("ArrowLeft", "left is better"),
            ("ArrowRight", "right is better"),
            ("b", "both are good"),
            ("n", "neither is good"),
        ):
            visit.page.keyboard.press(pressed)
            visit.says(f"Saved: {saved}.")
        visit.page.get_by_text("Keyboard shortcuts").click()
        visit.page.locator("h1").click()
        wait_until(lambda: "B" not in visit.button("Both are good").inner_text().removeprefix("Both are good"))
        visit.page.keyboard.press("b")
        visit.page.wait_for_timeout(500)
        assert visit.says("Saved: neither is good.").is_visible(), "switched off"


MARKED = f"""**Wait 20 minutes** [1], *then*:

2. run `gate open`
4. see [here](javascript:document.title='broken') or [there](http://outside.example/)

{HOSTILE}
[a]: http://outside.example/ref

| berth | open |
|-------|------|
| 7 | <svg/onload=document.title='broken'> |
"""


def test_an_llms_answer_is_readable_and_nothing_in_it_is_active(browser: "Browser", tmp_path: Path) -> None:
    with ScriptedLlm(lambda _asked, _number: Reply(text=MARKED)) as llm:
        generation = {"provider": "openai-compatible", "model": "scripted-model", "base_url": llm.url}
        with (
            served_page(tmp_path, generation=generation) as standing,
            Visit(browser, standing.url, standing.key()) as visit,
        ):
            visit.ask()
            answer = visit.page.locator(".t-answer")
            answer.locator("td").last.wait_for()
            assert answer.locator("strong").all_inner_texts() == ["Wait 20 minutes", "bold"]
            assert [each.get_attribute("value") for each in answer.locator("ol > li").all()] == ["2", "4"]
            assert answer.locator("em").inner_text() == "then"
            assert answer.locator("code").inner_text() == "gate open"
            assert answer.locator("td").all_inner_texts() == ["7", "<svg/onload=document.title='broken'>"]
            shown = answer.inner_text()
            for text in ("[here](javascript:", "[there](http://outside.example/)", "![b](http://outside.example/b.png)", "[a]: http:"):
                assert text in shown
            assert answer.locator("a, img, svg, script, [href], [src], [style]").count() == 0
            assert not any("outside.example" in url for url in visit.asked)
            assert visit.page.title() != "broken"


@pytest.mark.parametrize(("at", "scheme"), [("/", "light"), ("/?mode=side", "dark")], ids=["one", "side"])
def test_a_phone_shows_long_words_and_hostile_and_right_to_left_texts_as_they_are(
    browser: "Browser", standing: Standing, at: str, scheme: str
) -> None:
    long = f"anchor {'x' * 1900} {ARABIC}"
    with Visit(browser, standing.url, standing.key(), width=390, scheme=scheme, at=at) as visit:
        visit.ask(long) if at == "/" else visit.compare(long)
        visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        visit.page.locator(".t-source .rt-plain").last.wait_for()
        for what in ("document.documentElement", "document.querySelector('[data-testid=stMain]')"):
            assert visit.page.evaluate(f"{what}.scrollWidth") <= 390, what
        assert visit.page.locator(".t-question .rt-plain").inner_text() == long
        assert visit.page.locator(".t-question .rt-plain").get_attribute("dir") == "auto"
        passages = visit.page.locator(".t-source .rt-plain").all_inner_texts()
        assert passages
        assert [passage for passage in passages if HOSTILE not in passage or ARABIC not in passage] == []
        assert [title for title in visit.page.locator(".t-source .t-title").all_inner_texts() if HOSTILE not in title] == []
        assert visit.page.locator("[data-testid=stMain] img").count() == 0
        assert not any("outside.example" in url for url in visit.asked)
        assert visit.page.title() != "broken"


def test_the_browsers_back_shows_what_was_there_before(browser: "Browser", standing: Standing) -> None:
    with Visit(browser, standing.url, standing.key()) as visit:
        visit.ask("what is the vessel of pw0022")
        visit.button("Good answer").click()
        visit.says("Saved: a good answer.")
        first = visit.trial_id
        visit.button("Compare two answers").click()
        visit.says("You get two answers")
        visit.compare("what is the vessel of pw0023")
        for _ in range(10):
            if first in visit.page.url:
                break
            visit.page.go_back()
            visit.page.wait_for_timeout(300)
        assert visit.trial_id == first
        visit.says("Saved: a good answer.")
        assert "pw0022" in visit.page.locator(".t-question").inner_text()
        visit.rest()
        assert visit.button("Left is better").count() == 0


def test_the_dashboards_pages_are_none_of_this_servers(browser: "Browser", standing: Standing) -> None:
    with Visit(browser, standing.url, standing.key()) as visit:
        for name in ("verdict", "live"):
            visit.page.goto(f"{standing.url}/{name}")
            visit.question.wait_for()
            assert visit.page.get_by_test_id("stSidebar").count() == 0
            assert visit.page.locator(".rt-heading").count() == 0


def test_a_page_with_a_key_of_its_own_asks_nobody_for_one_and_answers_on_this_machine_alone(
    browser: "Browser", standing: Standing, tmp_path: Path
) -> None:
    units = set()
    with page_server(standing.service.url, tmp_path / "log", RAGTRIAL_TESTER_KEY=standing.key()) as url:
        for _ in range(2):
            with Visit(browser, url, None) as visit:
                visit.ask("what is the tide of pw0021")
                trial = standing.log.trial(visit.trial_id)
                assert trial is not None
                units.add(trial.unit)
        foreign: Mapping[str, str] = {"Host": "evil.example", "Accept": "text/html"}
        assert httpx.get(url, headers=foreign).status_code == 403
    assert len(units) == 2, "nobody knows who they are, so each visit is a unit of its own"
