"""A scripted LLM that reads and judges: answers come from the passages, so that arms which retrieve differently answer differently."""

import json
import re
from typing import Any

from scripted_llm import Reply, user_text

USAGE = {"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220}


def properties(asked: dict[str, Any]) -> set[str]:
    return set(asked.get("response_format", {}).get("json_schema", {}).get("schema", {}).get("properties", {}))


def reader_and_judge(asked: dict[str, Any], _number: int = 0) -> Reply:
    """Answers with the first passage's first sentence; judges by whether the answer shares a word with a reference answer."""
    wanted = properties(asked)
    if "answer" in wanted:
        passage = re.search(r"\[1\] (.*)", user_text(asked))
        answer = {"answer": passage[1][:80] if passage else "", "citations": [1], "abstained": False}
        return Reply(text=json.dumps(answer), usage=USAGE)
    if "verdict" in wanted:
        verdict = ("correct", "partly", "wrong")[len(user_text(asked)) % 3]
        return Reply(text=json.dumps({"rationale": "as it reads", "verdict": verdict}), usage=USAGE)
    raise AssertionError(f"asked for {wanted}")
