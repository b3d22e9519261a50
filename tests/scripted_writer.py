"""A scripted LLM that writes queries from passages and checks them, deterministic in what it is asked."""

import json
import re
from typing import Any

from scripted_llm import Reply, user_text
from scripted_reader import USAGE, properties

_FENCED = re.compile(r"<<<(?P<label>[A-Z ]+) (?P<code>[0-9a-f]+)>>>\n(?P<text>.*?)\n<<<END (?P=label) (?P=code)>>>", re.DOTALL)


def fenced(asked: dict[str, Any]) -> dict[str, str]:
    """The texts between fences, by label."""
    return {match["label"]: match["text"] for match in _FENCED.finditer(user_text(asked))}


def writer_and_judge(asked: dict[str, Any], _number: int = 0) -> Reply:
    """Writes a query of every third word of the passage, the same once more, one that speaks of the passage, a copied one, and a vague one.

    The judge finds queries with `vague` in them unspecific.
    """
    texts, wanted = fenced(asked), properties(asked)
    if "queries" in wanted:
        words = re.findall(r"\w+", texts["PASSAGE"])
        good = " ".join(words[::3][:8])
        vague = f"{' '.join(words[1::3][:8])} vague"
        queries = [f"{good}?", good.upper(), f"What does the passage say of {good}?", " ".join(words[2:8]), vague]
        return Reply(text=json.dumps({"queries": queries}), usage=USAGE)
    verdict = {"rationale": "as it reads", "answerable": True, "specific": "vague" not in texts["QUERY"]}
    return Reply(text=json.dumps(verdict), usage=USAGE)
