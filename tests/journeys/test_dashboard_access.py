"""Who gets into the dashboard: by key, by a login provider, or because nobody was named yet; through a browser and around it."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from board_pages import (
    DASHBOARDS,
    Board,
    SmallBoard,
    Visit,
    app_test,
    dashboard,
    free_port,
    html_of,
    make_key,
    small_board,
    visiting_as,
)
from ragtrial.db.keys import KeyStore
from ragtrial.db.members import MemberStore
from ragtrial.db.reader import Reader
from ragtrial.domain.access import SCOPES, Role, Scope
from servers.oidc_server import Provider, oidc_provider

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

PAGES = tuple(sorted(path.stem for path in (DASHBOARDS / "pages").glob("*.py")))
SCOPE_OF: dict[str, Scope] = {"labelling": "feedback"}
"""What a page needs; `read` where it is not named."""
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallBoard:
    return small_board(tmp_path_factory.mktemp("named"))


@pytest.fixture(scope="module")
def keys(small: SmallBoard) -> dict[str, str]:
    roles: tuple[Role, ...] = ("viewer", "tester", "operator", "admin")
    return {role: make_key(small.url, role) for role in roles}


@pytest.fixture(scope="module")
def closed(small: SmallBoard, keys: dict[str, str]) -> Iterator[Board]:
    """A dashboard over a database for which keys were made."""
    assert keys
    with dashboard(small.url, no_auth=False) as board:
        yield board


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A dashboard over a database for which nobody was named."""
    with dashboard(small_board(tmp_path_factory.mktemp("unnamed")).url, no_auth=False) as board:
        yield board


def evaluation_of(url: str) -> str:
    with Reader(url) as reader:
        return reader.evaluations()[-1].evaluation_id


def enter(visit: Visit, key: str) -> None:
    visit.page.get_by_label("API key").fill(key)
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Sign in").click()
    visit.rest()


def let_in(board: Board, key: str) -> "contextlib.closing[httpx.Client]":
    """A client that has signed in."""
    client = httpx.Client(base_url=board.url, headers=HTML)
    assert client.post("/login", data={"key": key}).status_code == 303
    return contextlib.closing(client)


def test_a_key_opens_the_view_that_a_link_led_to_and_a_wrong_one_opens_nothing(
    browser: "Browser", closed: Board, small: SmallBoard, keys: dict[str, str]
) -> None:
    link = f"/compare?evaluation={evaluation_of(small.url)}"
    with Visit(browser, f"{closed.url}{link}") as visit:
        assert visit.page.title() == "Sign in · ragtrial"
        assert "small" not in visit.page.locator("body").inner_text()
        enter(visit, "rt_0123456789_" + "0" * 64)
        assert "That is no valid key" in visit.page.get_by_role("alert").inner_text()
        enter(visit, keys["viewer"])
        assert visit.page.url == f"{closed.url}{link}"
        assert "small" in visit.page.title()
        assert "a viewer, viewer" in visit.page.content()
        (cookie,) = [cookie for cookie in visit.context.cookies() if cookie["name"].startswith("ragtrial_session")]
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Lax"
        assert keys["viewer"] not in cookie["value"]
        assert keys["viewer"].split("_")[2] not in visit.page.content()
        assert visit.outside() == []


def test_a_revoked_key_is_out_at_the_next_run_of_a_page_that_is_open(browser: "Browser", closed: Board, small: SmallBoard) -> None:
    key = make_key(small.url, "viewer", name="soon gone")
    with Visit(browser, f"{closed.url}/login") as visit:
        enter(visit, key)
        assert "soon gone" in visit.page.content()
        with KeyStore(small.url) as store:
            store.revoke(key.split("_")[1], "the test")
        visit.page.locator("[data-testid=stPageLink-NavLink]").nth(1).click()
        visit.page.get_by_role("heading", name="Sign in to see this page").wait_for()
        visit.rest()
        assert "nDCG" not in visit.text()
        visit.page.get_by_role("link", name="Sign in").click()
        enter(visit, key)
        assert "revoked" in visit.page.get_by_role("alert").inner_text()


def test_signing_out_ends_pages_that_are_open_elsewhere(browser: "Browser", closed: Board, keys: dict[str, str]) -> None:
    with Visit(browser, f"{closed.url}/login") as visit:
        enter(visit, keys["operator"])
        other = visit.context.new_page()
        other.goto(closed.url)
        other.get_by_role("link", name="Sign out").click()
        other.get_by_label("API key").wait_for()
        visit.page.locator("[data-testid=stPageLink-NavLink]").nth(1).click()
        visit.page.get_by_role("heading", name="Sign in to see this page").wait_for()


def test_nothing_is_shown_to_a_session_that_this_server_did_not_begin(browser: "Browser", closed: Board, small: SmallBoard) -> None:
    from ragtrial_board.sessions import Sessions, cookie_name

    with KeyStore(small.url) as store:
        prefix = store.list()[0].prefix
    with Visit(browser) as visit:
        for value in (prefix, Sessions().begin(prefix)):
            forged = {"name": cookie_name(small.url), "value": value, "url": closed.url}
            visit.context.add_cookies([forged])  # type: ignore[list-item]  # a TypedDict
            visit.goto(closed.url)
            assert visit.heading() == "Sign in to see this page"


@pytest.mark.parametrize("role", ["viewer", "tester", "operator"])
@pytest.mark.parametrize("page", PAGES)
def test_each_role_sees_the_pages_that_its_scopes_allow_and_no_other(
    monkeypatch: pytest.MonkeyPatch, small: SmallBoard, page: str, role: Role
) -> None:
    visiting_as(monkeypatch, small.url, role)
    test = app_test(monkeypatch, small.url, page, no_auth=False)
    assert not test.exception
    shown = html_of(test)
    assert f"a {role}, {role}" in shown
    if SCOPE_OF.get(page, "read") in SCOPES[role]:
        assert "This page is not for" not in shown
        return
    assert "This page is not for" in shown
    assert "<img" not in shown
    assert "nDCG" not in shown
    assert [*test.button, *test.dataframe, *test.selectbox] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_reads_no_page(monkeypatch: pytest.MonkeyPatch, small: SmallBoard, keys: dict[str, str], page: str) -> None:
    assert keys
    test = app_test(monkeypatch, small.url, page, no_auth=False)
    assert not test.exception
    assert "Sign in to see this page" in html_of(test)
    assert not test.dataframe
    assert not test.selectbox


def test_a_page_that_nobody_may_see_is_not_sent_to_whoever_asks_without_a_browser(closed: Board) -> None:
    with httpx.Client(base_url=closed.url, headers=HTML) as client:
        for page in ("/", *(f"/{name}" for name in PAGES)):
            response = client.get(page)
            assert response.status_code == 303
            assert response.headers["location"].startswith("/login")


def test_a_login_leads_to_no_other_site(closed: Board, keys: dict[str, str]) -> None:
    with httpx.Client(base_url=closed.url) as client:
        for towards in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
            response = client.post("/login", data={"key": keys["viewer"], "next": towards})
            assert response.headers["location"] == "/"
            shown = client.get("/login", params={"next": towards}).text
            assert "evil.example" not in shown


def test_the_login_page_writes_what_it_was_asked_as_text(closed: Board) -> None:
    shown = httpx.get(f"{closed.url}/login", params={"next": '/compare?x="><script>alert(1)</script>'}).text
    assert "<script" not in shown


def test_a_form_of_another_site_signs_nobody_in_or_out(closed: Board, keys: dict[str, str]) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        response = httpx.post(f"{closed.url}/login", data={"key": keys["viewer"]}, headers=headers)
        assert response.status_code == 403
        assert "set-cookie" not in response.headers
    with let_in(closed, keys["viewer"]) as client:
        assert client.get("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert client.get("/").status_code == 200


def test_whoever_tries_keys_has_to_wait_but_not_with_the_right_one(small: SmallBoard, keys: dict[str, str]) -> None:
    with dashboard(small.url, no_auth=False) as board, httpx.Client(base_url=board.url) as client:
        assert [client.post("/login", data={"key": f"rt_{i}_0"}).status_code for i in range(5)] == [401] * 5
        refused = client.post("/login", data={"key": "rt_6_0"})
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert "Too many keys were refused" in refused.text
        assert "login refused (5 since the start)" in board.said()
        assert "login refused (6" not in board.said()
        assert client.post("/login", data={"key": keys["viewer"]}).status_code == 303
        assert keys["viewer"] not in board.said()


def test_browsers_are_told_to_ask_no_other_host_and_to_frame_nothing(closed: Board) -> None:
    for path in ("/login", "/_stcore/health", "/static/none.js"):
        headers = httpx.get(f"{closed.url}{path}").headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_pages_of_other_sites_can_not_open_a_socket(closed: Board) -> None:
    socket = f"{closed.url.replace('http', 'ws')}/_stcore/stream"
    with pytest.raises(InvalidStatus):
        connect(socket, origin="https://evil.example")  # type: ignore[arg-type]  # an Origin is a str
    with connect(socket, origin=closed.url):  # type: ignore[arg-type]
        pass


def test_where_nobody_was_named_everyone_on_this_machine_is_admin_and_is_told_so(browser: "Browser", unnamed: Board) -> None:
    with Visit(browser, unnamed.url) as visit:
        assert "small" in visit.page.title()
        side = visit.page.locator("[data-testid=stSidebar]").inner_text()
        assert "No sign-in." in side
        assert "Whoever reaches this address is an admin" in side


def test_where_everyone_is_admin_other_names_of_this_machine_and_proxies_are_refused(unnamed: Board) -> None:
    port = unnamed.url.rpartition(":")[2]
    for headers in ({"Host": f"evil.example:{port}"}, {"X-Forwarded-For": "10.0.0.1"}, {"Forwarded": "for=10.0.0.1"}):
        response = httpx.get(unnamed.url, headers={**HTML, **headers})
        assert response.status_code == 403
        assert "ragtrial keys create" in response.text
    for name in ("localhost", "127.0.0.1", "[::1]"):
        assert httpx.get(unnamed.url, headers={**HTML, "Host": f"{name}:{port}"}).status_code == 200
    socket = f"{unnamed.url.replace('http', 'ws')}/_stcore/stream"
    with pytest.raises(InvalidStatus):  # a page whose name an attacker lets point to this machine
        connect(socket, additional_headers={"Host": f"evil.example:{port}"}, origin=f"http://evil.example:{port}")  # type: ignore[arg-type]


def test_the_first_key_closes_a_dashboard_that_was_open(tmp_path: Path) -> None:
    small = small_board(tmp_path)
    with dashboard(small.url, no_auth=False) as board:
        assert httpx.get(board.url, headers=HTML).status_code == 200
        key = make_key(small.url, "viewer")
        assert httpx.get(board.url, headers=HTML).status_code == 303
        with let_in(board, key) as client:
            assert client.get("/").status_code == 200


def test_nobody_is_let_in_from_other_machines_before_somebody_was_named(tmp_path: Path) -> None:
    with dashboard(small_board(tmp_path).url, no_auth=False, loopback=False) as board:
        assert httpx.get(board.url, headers=HTML).status_code == 303


@contextlib.contextmanager
def with_provider(small: SmallBoard, folder: Path, **person: object) -> Iterator[tuple[Board, Provider]]:
    """A dashboard whose visitors sign in with a provider that knows this person."""
    with oidc_provider(**person) as provider:
        port = free_port()
        secrets = folder / "secrets.toml"
        secrets.write_text(provider.secrets_file(f"http://127.0.0.1:{port}"))
        with dashboard(small.url, no_auth=False, port=port, secrets=str(secrets)) as board:
            yield board, provider


def sign_in_with_provider(visit: Visit) -> None:
    visit.page.get_by_role("link", name="Sign in with your account").click()
    visit.page.wait_for_url("**/*evaluation=*")
    visit.rest()


def test_a_member_signs_in_with_a_provider_lands_where_the_link_led_and_is_out_when_removed(browser: "Browser", tmp_path: Path) -> None:
    small = small_board(tmp_path)
    link = f"/compare?evaluation={evaluation_of(small.url)}"
    with (
        MemberStore(small.url) as members,
        with_provider(small, tmp_path, email="Ada@Example.com", email_verified=True) as (board, provider),
    ):
        members.add("ada@example.com", "viewer")
        with Visit(browser, f"{board.url}{link}") as visit:
            sign_in_with_provider(visit)
            assert visit.page.url == f"{board.url}{link}"
            assert "small" in visit.page.title()
            assert "Ada@Example.com, viewer" in visit.page.content()
            assert provider.asked[0]["code_challenge_method"] == "S256"
            members.add("ada@example.com", "tester")
            visit.page.locator("[data-testid=stPageLink-NavLink]").nth(1).click()
            visit.page.get_by_role("heading", name="This page is not for testers").wait_for()
            members.remove("ada@example.com")
            visit.goto(board.url)
            assert visit.heading() == "Nobody has given you a role yet"
            visit.page.get_by_text("ragtrial members add EXPERIMENT.yaml Ada@Example.com").wait_for()
            visit.page.get_by_role("link", name="Sign out").click()
            visit.page.wait_for_url("**/login")


def test_whoever_is_no_member_sees_how_to_become_one_and_nothing_else(browser: "Browser", tmp_path: Path) -> None:
    small = small_board(tmp_path)
    with with_provider(small, tmp_path, email="eve@example.com", email_verified=False) as (board, provider):
        with MemberStore(small.url) as members:
            members.add("eve@example.com", "admin")
        with Visit(browser, board.url) as visit:
            visit.page.get_by_role("link", name="Sign in with your account").click()
            visit.page.get_by_role("heading", name="Nobody has given you a role yet").wait_for()
            visit.rest()
            said = visit.text()
            assert f"{provider.url}#42" in said, "an address that the provider has not verified may be anybody's"
            assert "small" not in said
            assert "nDCG" not in said


def test_a_token_that_the_provider_did_not_sign_lets_nobody_in(browser: "Browser", tmp_path: Path) -> None:
    small = small_board(tmp_path)
    with (
        MemberStore(small.url) as members,
        with_provider(small, tmp_path, email="ada@example.com", email_verified=True) as (board, provider),
    ):
        members.add("ada@example.com", "admin")
        provider.another_key = True
        with Visit(browser, board.url) as visit:
            with visit.page.expect_response(lambda response: "/oauth2callback" in response.url):
                visit.page.get_by_role("link", name="Sign in with your account").click()
            visit.page.wait_for_url("**/login*")
            assert not [cookie for cookie in visit.context.cookies() if cookie["name"].startswith("_streamlit_user")]


def test_keys_open_the_door_beside_a_provider(browser: "Browser", tmp_path: Path) -> None:
    small = small_board(tmp_path)
    key = make_key(small.url, "viewer")
    with with_provider(small, tmp_path, email="ada@example.com", email_verified=True) as (board, _), Visit(browser, board.url) as visit:
        enter(visit, key)
        assert "a viewer, viewer" in visit.page.content()


def test_a_pepper_that_is_not_there_is_said_and_not_taken_for_a_wrong_key(tmp_path: Path) -> None:
    small = small_board(tmp_path)
    key = make_key(small.url, "viewer")
    with dashboard(small.url, no_auth=False, environment={"RAGTRIAL_KEY_PEPPER": ""}) as board:
        response = httpx.post(f"{board.url}/login", data={"key": key})
        assert response.status_code == 503
        assert "RAGTRIAL_KEY_PEPPER" in response.text


@pytest.mark.parametrize("width", [1440, pytest.param(390, marks=pytest.mark.long)])
def test_every_page_asks_this_server_alone(browser: "Browser", unnamed: Board, width: int) -> None:
    with Visit(browser, unnamed.url, width=width) as visit:
        for page in PAGES:
            visit.goto(f"{unnamed.url}/{'' if page == 'verdict' else page}")
            assert visit.page.title().strip(), page
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, page
        assert visit.outside() == []
        assert [said for said in visit.said if "Content Security Policy" in said] == []


def test_a_database_that_is_damaged_while_it_is_shown_is_said_in_plain_words(browser: "Browser", tmp_path: Path) -> None:
    small = small_board(tmp_path)
    with dashboard(small.url) as board, Visit(browser, board.url) as visit:
        assert "small" in visit.page.title()
        shutil.rmtree(tmp_path / ".ragtrial")
        visit.goto(f"{board.url}/compare")
        said = visit.text()
        assert "Traceback" not in said
        assert "unable to open database file" in said
