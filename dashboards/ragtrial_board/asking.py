"""The tester's page talks to the service: over HTTP with the tester's own key, as any other front end.

Whatever goes wrong is a `Trouble`: what happened and what to do, in words for people who only ask and vote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, Literal, NoReturn, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from ragtrial.domain.live_preference import Choice
from ragtrial.domain.live_trial import Thumb

TroubleKind = Literal["lost", "busy", "key", "not there", "refused", "failed", "stopped", "fault"]

_CONNECT_S = 5.0
_ASK_S = 240.0
_SAVE_S = 20.0
_FEW_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What a tester said of an answer or of a source; `withdrawn` takes it back."""

    thumb: Thumb
    tags: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A passage that the answer was made from."""

    passage_id: str
    title: str
    text: str
    cited: bool
    vote: Vote | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One answer: its text is empty where it abstained, and None where it was erased since."""

    answer: str | None
    abstained: bool
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer with the votes that hold; `query` is None where the service kept no text, `logged` False where it could not keep it."""

    trial_id: str
    answer: str | None
    abstained: bool
    sources: tuple[Source, ...]
    solicit_rating: bool
    query: str | None = None
    logged: bool = True
    vote: Vote | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two answers beside each other with the choice that holds."""

    comparison_id: str
    left: Side
    right: Side
    query: str | None = None
    choice: Choice | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """Which of two answers a tester prefers; `withdrawn` takes it back."""

    choice: Choice
    comment: str = ""


class Trouble(Exception):  # noqa: N818 - it is shown, and not an error of the page
    """What happened and what to do about it.

    Attributes:
        kind: For the page.
        title: What happened.
        advice: What to do.
    """

    def __init__(self, kind: TroubleKind, title: str, advice: str) -> None:
        super().__init__(title)
        self.kind, self.title, self.advice = kind, title, advice


Shape = TypeVar("Shape")

_ANSWERED, _COMPARED = TypeAdapter(Answered), TypeAdapter(Compared)

_TROUBLES: Mapping[tuple[int, str | None], tuple[TroubleKind, str, str]] = {
    (400, None): ("refused", "The service can't use this.", "It says: {message}."),
    (401, None): ("key", "The service does not accept your key.", "It may have been taken back. Ask whoever gave it to you for a new one."),
    (403, None): ("key", "Your key is not allowed to do this.", "Ask whoever gave it to you for a key of the role tester."),
    (404, None): (
        "not there",
        "There is no such answer here.",
        "It may be somebody else's: everyone sees only what they asked themselves.",
    ),
    (409, "stopped"): (
        "stopped",
        "There is nothing to compare just now.",
        "Side by side is switched off for the moment; ask for one answer.",
    ),
    (413, None): ("refused", "This is too long for the service.", "Say it in fewer words."),
    (429, None): ("busy", "That was faster than your key may ask.", "{again}"),
    (500, None): ("fault", "The service has a fault.", "It says: {message}. Tell whoever runs it; you can try again."),
    (502, None): ("failed", "No answer came.", "The service tried and failed; that is recorded. Ask again, or ask in other words."),
    (503, None): ("busy", "The service can't take this just now.", "{again}"),
    (503, "starting"): ("busy", "The service is starting.", "{again}"),
}
"""What happened and what to do, by status and code."""

_OTHERS: tuple[TroubleKind, str, str] = ("fault", "The service can't do this now.", "It says: {message}. You can try again.")


class Service:
    """The service, as one tester may use it.

    Args:
        client: Of the service's root address.
        key: The tester's API key; empty: none.
    """

    def __init__(self, client: httpx.Client, key: str) -> None:
        self._client, self._key = client, key

    def check(self) -> None:
        """See whether the key opens the service.

        Raises:
            Trouble: It does not, or the service can't be asked.
        """
        self._answer("GET", "/v1/models", within_s=_SAVE_S)

    def ask(self, query: str, *, unit: str, key: str) -> Answered:
        """Ask; the same `key` gets the same answer again.

        Raises:
            Trouble: There is no answer.
        """
        body = {"query": query, "unit": unit}
        found = _read(_ANSWERED, self._answer("POST", "/v1/ask", body=body, key=key, within_s=_ASK_S))
        return Answered(**{**_fields(found), "query": query})

    def answer(self, trial_id: str) -> Answered:
        """An answer that this tester was given.

        Raises:
            Trouble: It is not there, or can't be fetched.
        """
        return _read(_ANSWERED, self._answer("GET", f"/v1/answers/{quote(trial_id, safe='')}", within_s=_SAVE_S))

    def vote(self, trial_id: str, passage_id: str | None, vote: Vote, *, key: str) -> None:
        """Vote; it is recorded when this returns, once for each `key`.

        Raises:
            Trouble: It is not recorded.
        """
        body = {"trial_id": trial_id, "thumb": vote.thumb, "passage_id": passage_id, "tags": list(vote.tags), "comment": vote.comment}
        self._answer("POST", "/v1/feedback", body={**body, "key": key}, within_s=_SAVE_S)

    def compare(self, query: str, *, unit: str, key: str) -> Compared:
        """Ask for two answers; the same `key` gets the same two in the same order again.

        Raises:
            Trouble: There are none.
        """
        body = {"query": query, "unit": unit}
        found = _read(_COMPARED, self._answer("POST", "/v1/comparisons", body=body, key=key, within_s=_ASK_S))
        return Compared(**{**_fields(found), "query": query})

    def comparison(self, comparison_id: str) -> Compared:
        """Two answers that this tester was given.

        Raises:
            Trouble: They are not there, or can't be fetched.
        """
        return _read(_COMPARED, self._answer("GET", f"/v1/comparisons/{quote(comparison_id, safe='')}", within_s=_SAVE_S))

    def prefer(self, comparison_id: str, preferred: Preferred, *, key: str) -> None:
        """Say which is better; it is recorded when this returns, once for each `key`.

        Raises:
            Trouble: It is not recorded.
        """
        body = {"comparison_id": comparison_id, "choice": preferred.choice, "comment": preferred.comment, "key": key}
        self._answer("POST", "/v1/preferences", body=body, within_s=_SAVE_S)

    def _answer(
        self, method: str, path: str, *, body: dict[str, Any] | None = None, key: str | None = None, within_s: float
    ) -> httpx.Response:
        if not self._key.isascii():
            raise _trouble(401, "", message="", seconds=0)
        headers = {} if key is None else {"Idempotency-Key": key}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            response = self._client.request(method, path, json=body, headers=headers, timeout=httpx.Timeout(within_s, connect=_CONNECT_S))
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise _lost() from error
        if response.status_code != httpx.codes.OK:
            _explain(response)
        return response


def _fields(found: object) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}  # type: ignore[attr-defined]  # of our dataclasses


def _read(shape: "TypeAdapter[Shape]", response: httpx.Response) -> Shape:
    try:
        return shape.validate_json(response.content)
    except ValidationError as error:
        raise _stranger() from error


def _explain(response: httpx.Response) -> NoReturn:
    """Say in plain words what the service said in its own."""
    try:
        said = response.json()["error"]
        code, message = str(said.get("code")), str(said["message"])
    except (JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise _stranger() from error
    wait = response.headers.get("Retry-After", "")
    raise _trouble(response.status_code, code, message=message, seconds=int(wait) if wait.isdigit() else _FEW_S)


def _trouble(status: int, code: str, *, message: str, seconds: int) -> Trouble:
    kind, title, advice = _TROUBLES.get((status, code)) or _TROUBLES.get((status, None)) or _OTHERS
    again = f"Try again in {seconds} second{'' if seconds == 1 else 's'}. Nothing of what you typed is lost."
    return Trouble(kind, title, advice.format(message=message, again=again))


def _lost() -> Trouble:
    return Trouble(
        "lost",
        "The connection to the service is lost.",
        "What you typed is still here. Try again in a moment: nothing is asked or counted twice.",
    )


def _stranger() -> Trouble:
    return Trouble(
        "fault", "What answers is not the service.", "Something else stands at its address, or between. Tell whoever runs this page."
    )
