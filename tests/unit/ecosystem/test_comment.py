"""The comment that says a verdict on a pull request, and how it gets there and stays one."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from commands import ragtrial_command
from ragtrial.errors import InputError, SetupError
from ragtrial.report.comment import Place, as_comment, marker, read_report, without_result
from ragtrial.report.json_report import report_dict
from ragtrial.settings import read_settings
from ragtrial.suite.commenting import Request, commit_of, page_of, post, request_of
from servers import code_host
from servers.code_host import READ_ONLY, TOKEN, CodeHost
from unit.report import samples

LINK = "https://github.com/acme/rag/actions/runs/1"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """A large report of a finished evaluation."""
    return json.loads(json.dumps(report_dict(samples.build())))


@pytest.fixture(params=["github", "gitlab"])
def host(request: pytest.FixtureRequest) -> Iterator[CodeHost]:
    with code_host.running(request.param) as found:
        yield found


@pytest.fixture
def github() -> Iterator[CodeHost]:
    with code_host.running("github") as found:
        yield found


def at(host: CodeHost, *, token: str = TOKEN) -> Request:
    project = "acme/rag" if host.kind == "github" else "42"
    return Request(host=host.kind, api=host.url, project=project, number="7", token=token)  # type: ignore[arg-type]


def shown(markdown: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)


def test_a_reader_sees_verdict_effect_interval_guardrails_and_cost(report: dict[str, Any]) -> None:
    said = as_comment(report, Place(link=LINK, commit="0123456789abcdef", key=None))
    row = report["metrics"][0]
    lines = said.splitlines()
    assert lines[0] == marker(report["experiment"]["name"])
    assert lines[2].startswith("### ✅ Adopt custom · ")
    effect = row["difference"]
    assert lines[4].startswith(
        f"**{row['name']} {effect['estimate']:+.4f} \\[{effect['low']:+.4f}, {effect['high']:+.4f}\\]** (95% interval, "
    )
    assert lines[4].endswith("; gate `adopt` holds.")
    assert "✅ holds: guardrail latency_ms, worse by at most +" in said
    assert "Cost: median " in said
    assert f"[Full report and log]({LINK}). Commit `0123456789ab`." in said
    assert f"Evaluation `{report['timing']['evaluation_id']}`" in said


def test_texts_of_a_report_carry_nothing_out(report: dict[str, Any]) -> None:
    evil = "--> <script>x</script> ![](https://evil.example/p.png) [l](http://e.example) @everyone #1 | `\n/close\n"
    hostile = copy.deepcopy(report)
    hostile["experiment"]["name"] = evil
    hostile["verdict"]["sentence"] = f"/approve {evil}"
    hostile["checks"][0] |= {"state": "warn", "name": evil, "detail": evil}
    hostile["metrics"][0] |= {"name": evil}
    hostile["arms"][0]["arm"] = evil
    said = as_comment(hostile, Place(link=LINK))
    page = shown(said)
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("<a ") == 1  # ours
    assert "@everyone" not in page
    assert "://evil" not in page
    assert said.count("-->") == 1
    assert not [line for line in said.splitlines() if line.startswith("/")]
    assert len(said) < 60_000


def test_a_link_can_not_end_itself(report: dict[str, Any]) -> None:
    assert "(https://a.example/%29%20%5Bx%5D%28y)" in as_comment(report, Place(link="https://a.example/) [x](y"))
    with pytest.raises(InputError, match="https://"):
        as_comment(report, Place(link="javascript:alert(1)"))


def test_a_metric_without_a_difference_says_why_and_shows_no_number(report: dict[str, Any]) -> None:
    bare = copy.deepcopy(report)
    bare["metrics"][0] |= {"difference": dict.fromkeys(bare["metrics"][0]["difference"]), "reason": "fewer than 2 queries were scored"}
    assert "no difference could be computed** (fewer than 2 queries were scored); gate" in as_comment(bare, Place())


def test_what_is_no_report_is_refused_with_its_place(tmp_path: Path, report: dict[str, Any]) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**report, "verdict": {**report["verdict"], "decision": "<b>"}}))
    with pytest.raises(InputError, match=r"verdict\.decision"):
        read_report(path)
    path.write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        read_report(path)
    with pytest.raises(InputError, match="can't be read"):
        read_report(tmp_path / "nowhere.json")


def test_one_comment_is_created_updated_and_left_alone(host: CodeHost) -> None:
    sticky = marker("a")
    assert post(at(host), f"{sticky}\n1\n", sticky=sticky).done == "created"
    assert post(at(host), f"{sticky}\n1\n", sticky=sticky).done == "unchanged"
    assert post(at(host), f"{sticky}\n2\n", sticky=sticky).done == "updated"
    assert [comment["body"] for comment in host.comments] == [f"{sticky}\n2\n"]
    assert len(host.writes()) == 2


def test_ours_is_found_on_a_later_page(host: CodeHost) -> None:
    for number in range(205):
        host.add(f"talk {number}", by={"login": "ann", "id": 5})
    ours = host.add(f"{marker('a')}\nold")
    assert post(at(host), f"{marker('a')}\nnew", sticky=marker("a")).done == "updated"
    assert ours["body"].endswith("new")
    assert len(host.comments) == 206


def test_somebody_elses_comment_that_begins_like_ours_is_not_touched(host: CodeHost) -> None:
    host.add(f"{marker('a')}\nforged", by={"login": "mallory", "id": 666})
    assert post(at(host), f"{marker('a')}\nours", sticky=marker("a")).done == "created"
    assert host.comments[0]["body"].endswith("forged")


def test_two_experiments_have_a_comment_each(host: CodeHost) -> None:
    for key in ("a", "b", "a"):
        post(at(host), f"{marker(key)}\nx", sticky=marker(key))
    assert len(host.comments) == 2


def test_a_token_that_may_only_read_is_told_and_is_no_error(host: CodeHost) -> None:
    done = post(at(host, token=READ_ONLY), f"{marker('a')}\nx", sticky=marker("a"))
    assert done.done == "refused"
    assert "403" in done.detail
    assert host.comments == []


def test_a_jobs_token_that_may_not_ask_who_it_is_is_the_bot(github: CodeHost) -> None:
    github.knows_itself = False
    for body in ("1", "2"):
        post(at(github), f"{marker('a')}\n{body}", sticky=marker("a"))
    assert len(github.comments) == 1


def test_bad_moments_are_waited_out(host: CodeHost) -> None:
    host.bad = [503, 502, 429]
    waited: list[float] = []
    assert post(at(host), f"{marker('a')}\nx", sticky=marker("a"), sleep=waited.append).done == "created"
    assert waited == [1.0, 4.0, 3.0]  # the last one as the host asked


def test_an_answer_that_got_lost_does_not_make_a_second_comment(host: CodeHost) -> None:
    host.bad = ["drop"]
    assert post(at(host), f"{marker('a')}\nx", sticky=marker("a"), sleep=lambda _s: None).done == "unchanged"
    assert len(host.comments) == 1


def test_a_host_that_stays_down_is_an_error_that_names_what_was_asked(host: CodeHost) -> None:
    host.bad = [500] * 9
    with pytest.raises(SetupError, match=r"GET /user was answered with 500"):
        post(at(host), "x", sticky="x", sleep=lambda _s: None)


def test_a_wrong_token_is_not_tried_again(host: CodeHost) -> None:
    with pytest.raises(SetupError, match="its token is not accepted"):
        post(at(host, token="wrong"), "x", sticky="x", sleep=lambda _s: pytest.fail("waited"))
    assert len(host.asked) == 1


def event(tmp_path: Path, content: dict[str, Any]) -> str:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_the_request_is_what_the_jobs_variables_say(tmp_path: Path) -> None:
    pull = {"pull_request": {"number": 7, "head": {"sha": "abc"}}}
    variables = {"GITHUB_REPOSITORY": "acme/rag", "GITHUB_EVENT_PATH": event(tmp_path, pull), "GITHUB_TOKEN": "t", "GITHUB_SHA": "merge"}
    variables |= {"GITHUB_RUN_ID": "1", "GITHUB_SERVER_URL": "https://github.com"}
    settings = read_settings(variables)
    assert request_of("github", settings) == Request(host="github", api="https://api.github.com", project="acme/rag", number="7", token="t")
    assert commit_of(settings) == "abc"
    assert page_of(settings) == LINK
    pushed = read_settings({**variables, "GITHUB_EVENT_PATH": event(tmp_path, {"ref": "refs/heads/main"})})
    assert request_of("github", pushed) is None
    merge = {
        "CI_PROJECT_ID": "42",
        "CI_MERGE_REQUEST_IID": "7",
        "RAGTRIAL_GITLAB_TOKEN": "t",
        "CI_API_V4_URL": "https://git.example/api/v4",
    }
    found = request_of("gitlab", read_settings(merge))
    assert found is not None
    assert found.comments == "https://git.example/api/v4/projects/42/merge_requests/7/notes"
    with pytest.raises(InputError, match="whole number"):
        request_of("gitlab", read_settings({**merge, "CI_MERGE_REQUEST_IID": "7/../8"}))
    with pytest.raises(SetupError, match="RAGTRIAL_GITLAB_TOKEN"):
        request_of("gitlab", read_settings({**merge, "RAGTRIAL_GITLAB_TOKEN": ""}))


def test_the_command_posts_and_a_missing_report_takes_the_old_verdict_away(
    github: CodeHost, tmp_path: Path, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    pull = {"pull_request": {"number": 7, "head": {"sha": "abc"}}}
    given = {
        "GITHUB_REPOSITORY": "acme/rag",
        "GITHUB_EVENT_PATH": event(tmp_path, pull),
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_API_URL": github.url,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    first = ragtrial_command("comment", path, "--post", "github", "--key", "k")
    assert (first.code, first.err) == (0, "comment created: https://code.example/100\n")
    assert first.out == as_comment(read_report(path), Place(commit="abc", key="k"))
    path.unlink()
    assert ragtrial_command("comment", path).code == 2
    second = ragtrial_command("comment", path, "--post", "github", "--key", "k", "--missing", "handbook")
    assert "comment updated" in second.err
    assert github.comments[0]["body"] == without_result("handbook", Place(commit="abc", key="k"))
