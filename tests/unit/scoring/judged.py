"""What the tests of LLM judges share: trials, a gold set, a gate that does not dawdle, and a reader of fences."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Trial
from ragtrial.llm.chat import Endpoint, Sampling
from ragtrial.llm.gate import Gate, Limits
from ragtrial.llm.prices import read_prices
from ragtrial.scoring.judge import JudgeScorer
from scripted_llm import Reply, user_text

TEXTS = {"p1": "A truck may pass {15} minutes early.", "p2": "A rack holds forty boxes.", "p3": "The wind is strong."}
PASSAGES = {key: Passage(passage_id=key, document_id=key, title="Rules", text=text, start=0, end=len(text)) for key, text in TEXTS.items()}
GOLD = GoldSet(
    name="gold",
    queries=(
        Query(query_id="early", text="How early may a truck pass?", answers=("15 minutes", "A quarter of an hour")),
        Query(query_id="rack", text="What does a rack hold?", answers=("Forty boxes",)),
        Query(query_id="open", text="Why is it so?"),
    ),
    judgments=(),
)
CONTROL, TREATMENT = "baseline-arm", "custom-arm"
MODEL = "gpt-4o-mini"


def quick_gate(**limits: Any) -> Gate:
    return Gate(Limits(**{"attempts": 2, "backoff_s": 0.01, "timeout_s": 5.0, **limits}), prices=read_prices())


def scorer_of(gate: Gate, url: str, *names: str, repetitions: Mapping[str, int] | None = None, **more: Any) -> JudgeScorer:
    settings: dict[str, Any] = {
        "endpoint": Endpoint(base_url=url, model=MODEL),
        "sampling": Sampling(max_tokens=300),
        "passages": PASSAGES,
        "context_passages": 2,
        "control": CONTROL,
        "treatment": TREATMENT,
        **more,
    }
    return JudgeScorer([metric_named(f"judge_{name}") for name in names], gate=gate, repetitions=repetitions or {}, **settings)


def trial_of(
    text: str, *, arm: str = CONTROL, query_id: str = "early", repetition: int = 0, retrieved: tuple[str, ...] = ("p1", "p2", "p3")
) -> Trial:
    hits = tuple(Hit(passage_id=each, similarity=1.0) for each in retrieved)
    answer = Answer(text=text, finish_reason="stop" if text else "abstained", generator="fake/1")
    return Trial(arm=arm, query_id=query_id, repetition=repetition, ranking=Ranking(query_id=query_id, hits=hits), answer=answer)


def failed_trial(*, arm: str = CONTROL, query_id: str = "early") -> Trial:
    return Trial(arm=arm, query_id=query_id, failure=Failure(stage="search", kind="StoreError", message="it broke"))


def verdict(word: str, rationale: str = "because", **more: Any) -> Reply:
    return Reply(text=json.dumps({"rationale": rationale, "verdict": word}), **more)


def claims(*found: tuple[str, list[int], str]) -> Reply:
    return Reply(text=json.dumps({"claims": [{"claim": claim, "passages": numbers, "verdict": word} for claim, numbers, word in found]}))


def fenced_in(message: str) -> dict[str, str]:
    """The texts between the fences of a message by label, as a reader who goes strictly by the code finds them."""
    (code,) = re.findall(r"^The code of the markers is ([0-9a-f]{16})\.$", message, re.MULTILINE)[:1]
    found, label, lines = {}, None, []
    for line in message.split("\n"):
        mark = re.fullmatch(rf"<<<(END )?([A-Z0-9 ]+) {code}>>>", line)
        if mark is None:
            lines.append(line)
            continue
        if mark[1]:
            assert label == mark[2], f"{mark[2]} closes where {label} is open"
            found[label], label = "\n".join(lines), None
        else:
            assert label is None, f"{mark[2]} opens inside of {label}"
            assert mark[2] not in found, f"{mark[2]} opens twice"
            label, lines = mark[2], []
    assert label is None
    return found


def outside_fences(message: str) -> str:
    """What stands in the message outside of all fences."""
    return re.sub(r"^<<<([A-Z0-9 ]+) ([0-9a-f]{16})>>>$.*?^<<<END \1 \2>>>$", "", message, flags=re.MULTILINE | re.DOTALL)


def answers_shown(asked: Mapping[str, Any]) -> tuple[str, str]:
    """The answers that a question about a preference calls A and B."""
    found = fenced_in(user_text(asked))
    return found["ANSWER A"], found["ANSWER B"]
