"""One comment on a pull or merge request, kept up to date through the REST API of GitHub or GitLab.

The standard library sends it, as it does alerts: a CI job has the light base alone, and a dozen requests need no pool of connections.
Posting is a loop of its own and no retry of single requests: after an answer that got lost nobody knows whether the comment was written, so
each try looks again for what is there, and none writes it twice.
"""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import quote, urlsplit

from ragtrial import __version__
from ragtrial.errors import InputError, SetupError
from ragtrial.settings import Settings

Host = Literal["github", "gitlab"]

TIMEOUT_S = 15.0
WAITS_S = (1.0, 4.0, 10.0)
"""Between tries; a `Retry-After` of the host counts instead, up to a minute."""

_MOST_WAIT_S = 60.0
_MOST_PAGES = 50
_PER_PAGE = 100
_BOT = "github-actions[bot]"
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Where comments of one pull or merge request are read and written.

    Attributes:
        host: Whose API it is.
        api: Its base URL.
        project: `owner/name` at GitHub, the project's number at GitLab.
        number: Of the pull or merge request.
        token: That may write comments.
    """

    host: Host
    api: str
    project: str
    number: str
    token: str

    @property
    def comments(self) -> str:
        """The URL of all comments."""
        if self.host == "github":
            return f"{self.api}/repos/{quote(self.project)}/issues/{self.number}/comments"
        return f"{self.api}/projects/{quote(self.project, safe='')}/merge_requests/{self.number}/notes"

    def comment(self, comment_id: int) -> str:
        """The URL of one comment."""
        if self.host == "github":
            return f"{self.api}/repos/{quote(self.project)}/issues/comments/{comment_id}"
        return f"{self.comments}/{comment_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What became of a comment.

    Attributes:
        done: `created`, `updated`, `unchanged`, or `refused` where the token may not write (a pull request from a fork).
        detail: Why it was refused, or the comment's address.
    """

    done: Literal["created", "updated", "unchanged", "refused"]
    detail: str


class _AgainError(Exception):
    """The host may answer better in a moment."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class _ForbiddenError(Exception):
    """The token may not do this."""


def request_of(host: Host, settings: Settings) -> Request | None:
    """The pull or merge request that this CI job is about, by the variables that its host sets; None where it is about none.

    Raises:
        InputError: The job is not one of this host.
        SetupError: There is no token.
    """
    variables = settings.environment
    found = _github(variables) if host == "github" else _gitlab(variables)
    if found is None:
        return None
    parts = urlsplit(found.api)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"the API's address is {found.api!r}: the CI job should set one that begins with https://")
    if not _NUMBER.fullmatch(found.number):
        raise InputError(f"the request's number is {found.number!r}: the CI job should set a whole number")
    if not found.token:
        name = "GITHUB_TOKEN" if host == "github" else "RAGTRIAL_GITLAB_TOKEN"
        raise SetupError(f"no token to comment with: set {name}")
    return found


def commit_of(settings: Settings) -> str | None:
    """The commit that the request's author pushed, not the merge that CI tests; None outside CI."""
    variables = settings.environment
    head = _event(variables).get("pull_request", {}).get("head", {}).get("sha")
    return head or variables.get("CI_COMMIT_SHA") or variables.get("GITHUB_SHA") or None


def page_of(settings: Settings) -> str | None:
    """The page of this CI run; None outside CI."""
    variables = settings.environment
    if variables.get("GITHUB_RUN_ID"):
        server, project = variables.get("GITHUB_SERVER_URL", "https://github.com"), variables.get("GITHUB_REPOSITORY", "")
        return f"{server}/{project}/actions/runs/{variables['GITHUB_RUN_ID']}"
    return variables.get("CI_JOB_URL") or None


def _github(variables: Mapping[str, str]) -> Request | None:
    if "GITHUB_REPOSITORY" not in variables:
        raise InputError("this is no job of GitHub Actions (GITHUB_REPOSITORY is not set)")
    event = _event(variables)
    number = event.get("pull_request", {}).get("number")
    if number is None:
        return None
    api = variables.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    token = variables.get("GITHUB_TOKEN", "")
    return Request(host="github", api=api, project=variables["GITHUB_REPOSITORY"], number=str(number), token=token)


def _gitlab(variables: Mapping[str, str]) -> Request | None:
    if "CI_PROJECT_ID" not in variables:
        raise InputError("this is no job of GitLab CI (CI_PROJECT_ID is not set)")
    number = variables.get("CI_MERGE_REQUEST_IID")
    if not number:
        return None
    api = variables.get("CI_API_V4_URL", "https://gitlab.com/api/v4").rstrip("/")
    token = variables.get("RAGTRIAL_GITLAB_TOKEN", "")
    return Request(host="gitlab", api=api, project=variables["CI_PROJECT_ID"], number=number, token=token)


def _event(variables: Mapping[str, str]) -> dict[str, Any]:
    path = variables.get("GITHUB_EVENT_PATH")
    if not path:
        return {}
    try:
        event = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"GITHUB_EVENT_PATH: {path!r} can't be read as JSON ({error})") from error
    return event if isinstance(event, dict) else {}


def post(
    request: Request,
    body: str,
    *,
    sticky: str,
    timeout_s: float = TIMEOUT_S,
    waits_s: Sequence[float] = WAITS_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Posted:
    """Write the comment, or bring the one that is there up to date: how often it is called, there is one.

    Only a comment of the token's own account counts as ours: anybody can write one that begins alike.

    Args:
        request: Where.
        body: Markdown that begins with `sticky`.
        sticky: What our comment begins with.
        timeout_s: Of each request.
        waits_s: Between tries.
        sleep: Waits.

    Raises:
        SetupError: The host refuses (not by lack of permission), or can't be reached.
    """
    problem = ""
    for place in range(len(waits_s) + 1):
        try:
            return _post_once(request, body, sticky, timeout_s)
        except _ForbiddenError as error:
            return Posted(done="refused", detail=str(error))
        except _AgainError as error:
            problem = str(error)
            if place < len(waits_s):
                sleep(waits_s[place] if error.after_s is None else min(error.after_s, _MOST_WAIT_S))
    raise SetupError(f"the comment could not be written: {problem}")


def _post_once(request: Request, body: str, sticky: str, timeout_s: float) -> Posted:
    mine = _me(request, timeout_s)
    for comment in _comments(request, timeout_s):
        if str(comment.get("body", "")).startswith(sticky) and _author(request, comment) == mine:
            address = str(comment.get("html_url", comment["id"]))
            if str(comment["body"]).replace("\r\n", "\n").rstrip() == body.rstrip():
                return Posted(done="unchanged", detail=address)
            method = "PATCH" if request.host == "github" else "PUT"
            _call(request, method, request.comment(int(comment["id"])), timeout_s, body=body)
            return Posted(done="updated", detail=address)
    made, _headers = _call(request, "POST", request.comments, timeout_s, body=body)
    return Posted(done="created", detail=str(made.get("html_url", made.get("id", ""))))


def _me(request: Request, timeout_s: float) -> str:
    """The token's account. The token of a job at GitHub may not ask who it is: it is the bot."""
    try:
        found, _headers = _call(request, "GET", f"{request.api}/user", timeout_s)
    except _ForbiddenError:
        if request.host == "gitlab":
            raise
        return _BOT
    return str(found.get("login" if request.host == "github" else "id"))


def _author(request: Request, comment: Mapping[str, Any]) -> str:
    if request.host == "github":
        return str((comment.get("user") or {}).get("login"))
    return str((comment.get("author") or {}).get("id"))


def _comments(request: Request, timeout_s: float) -> Iterator[dict[str, Any]]:
    """Page by page, until one is not full: both hosts tell the next page in a header of another kind, and both fill their pages."""
    for page in range(1, _MOST_PAGES + 1):
        found, _headers = _call(request, "GET", f"{request.comments}?per_page={_PER_PAGE}&page={page}", timeout_s)
        yield from found
        if len(found) < _PER_PAGE:
            return


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is sent to the host it was given for, and nowhere else."""

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> None:
        del req, fp, code, msg, headers, newurl


_OPENER = urllib.request.build_opener(_NoRedirect)


def _call(request: Request, method: str, url: str, timeout_s: float, *, body: str | None = None) -> tuple[Any, Message]:
    headers = {"User-Agent": f"ragtrial/{__version__}", "Accept": "application/json"}
    if request.host == "github":
        headers |= {"Authorization": f"Bearer {request.token}", "X-GitHub-Api-Version": "2022-11-28"}
    else:
        headers["PRIVATE-TOKEN"] = request.token
    data = None
    if body is not None:
        data = json.dumps({"body": body}).encode()
        headers["Content-Type"] = "application/json"
    asked = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - the scheme was checked
    what = f"{method} {urlsplit(url).path}"
    try:
        with _OPENER.open(asked, timeout=timeout_s) as answer:
            return json.loads(answer.read() or b"null"), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error, what, request.host) from error
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise _AgainError(f"{what}: {getattr(error, 'reason', None) or error}") from error
    except ValueError as error:
        raise _AgainError(f"{what}: the answer is no JSON") from error


def _refused(error: urllib.error.HTTPError, what: str, host: Host) -> Exception:
    """What an answer that is none of 2xx means."""
    code, headers = error.code, error.headers
    limited = code == 403 and (headers.get("Retry-After") or headers.get("X-RateLimit-Remaining") == "0")
    if code in (408, 429) or code >= 500 or limited:
        after = headers.get("Retry-After") or ""
        return _AgainError(f"{what} was answered with {code}", float(after) if after.isdigit() else None)
    if code == 403:
        return _ForbiddenError(f"{what} was answered with 403: the token may not do this (in a pull request from a fork it never may)")
    how = "its token is not accepted" if code == 401 else "is the address right, and may the token read it?"
    return SetupError(f"{host.capitalize()}: {what} was answered with {code}: {how}")
