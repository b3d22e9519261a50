"""Texts that try to become commands, and a way to put them into everything that a report shows."""

import dataclasses
from collections.abc import Mapping
from typing import Any

XSS = (
    "<script>window.broken = 1</script>",
    "</script><script>window.broken = 1</script>",
    "</style><script>window.broken = 1</script>",
    "</title></textarea></noscript><img src=x onerror=window.broken=1>",
    '"><img src=x onerror="window.broken=1">',
    "' onmouseover='window.broken=1' autofocus onfocus='window.broken=1",
    "<svg/onload=window.broken=1>",
    "<svg><script>window.broken=1</script></svg>",
    "<iframe srcdoc='<script>parent.broken=1</script>'></iframe>",
    '<a href="javascript:window.broken=1">x</a>',
    "<math><mtext><table><mglyph><style><img src=x onerror=window.broken=1>",
    "<!--><img src=x onerror=window.broken=1>-->",
    "]]><script>window.broken=1</script>",
    "{{ 7*7 }}{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "${window.broken=1}",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<base href=https://evil.example/>",
    "<form action=https://evil.example/><input name=k autofocus>",
    "![p](https://evil.example/pixel.png)",
    "[sign in](https://evil.example/)",
    "\x1b[2J\x1b]0;title\x07\x9b31m",
    "@everyone @security-team",
)
PAYLOAD = " ".join(XSS)

_FREE = frozenset(
    {"text", "title", "message", "detail", "hypothesis", "sentence", "label", "reason", "comment", "note", "answer", "description"}
)


def poisoned(value: Any) -> Any:
    """A tree of dataclasses with the payload behind every free text, tag, and name of a model."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {}
        for field in dataclasses.fields(value):
            if not field.init:
                continue
            old = getattr(value, field.name)
            is_free = field.name in _FREE or (
                field.name in ("name", "model") and type(value).__name__ in ("ModelIdentity", "EmbeddingSpec", "Document")
            )
            if isinstance(old, str) and is_free and old:
                changes[field.name] = f"{old} {PAYLOAD}"
            elif field.name == "tags" and isinstance(old, Mapping):
                changes[field.name] = {key: f"{tag} {XSS[0]}" for key, tag in old.items()}
            elif not isinstance(old, str):
                new = poisoned(old)
                if new is not old:
                    changes[field.name] = new
        return dataclasses.replace(value, **changes) if changes else value
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        new_items = tuple(poisoned(item) for item in value)
        return new_items if any(a is not b for a, b in zip(new_items, value, strict=True)) else value
    if isinstance(value, Mapping):
        return {key: poisoned(item) for key, item in value.items()}
    return value
