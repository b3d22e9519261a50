"""The OpenAPI document holds: schemathesis finds no 5xx and no response that it does not describe."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from live_service import live, live_experiment

HOOKS = """
import os
import uuid
import schemathesis

@schemathesis.hook
def map_body(context, body):
    named = body.get("trial_id") if isinstance(body, dict) else None
    if isinstance(named, str) and 0 < len(named) <= 200 and "\\0" not in named:
        body["trial_id"] = os.environ["A_TRIAL"]  # one that exists, wherever the document allows any
        source = body.get("passage_id")
        if isinstance(source, str) and 0 < len(source) <= 200 and "\\0" not in source:
            body["passage_id"] = os.environ["A_SOURCE"]
    shown = body.get("comparison_id") if isinstance(body, dict) else None
    if isinstance(shown, str) and 0 < len(shown) <= 200 and "\\0" not in shown:
        body["comparison_id"] = os.environ["A_COMPARISON"]
    return body

@schemathesis.hook
def map_headers(context, headers):
    key = (headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) <= 200:
        headers["Idempotency-Key"] = uuid.uuid4().hex  # one key with two questions is refused, which no document can say
    return headers
"""

CONFIGURATION = """
request-timeout = 20.0
[parameters]
"path.name" = "small"
"path.trial_id" = "{trial}"
"path.comparison_id" = "{comparison}"
# What a question is (a last message of the user, made of text) is more than the document can say.
[[operations]]
include-path = "/v1/chat/completions"
checks.positive_data_acceptance.enabled = false
# The coverage phase sends one idempotency key with many questions, past the hook.
[[operations]]
include-path-regex = "^/v1/(ask|comparisons)$"
phases.coverage.checks.positive_data_acceptance.enabled = false
# A source is one of those that this answer has, a comparison one that was shown; the coverage phase invents some, past the hook.
[[operations]]
include-path-regex = "^/v1/(feedback|events|preferences)$"
phases.coverage.checks.positive_data_acceptance.enabled = false
[[operations]]
include-path-regex = "^/(healthz|readyz)$"
checks.ignored_auth.enabled = false
"""


@pytest.mark.slow
def test_the_service_does_what_its_openapi_document_says(tmp_path: Path) -> None:
    with live(live_experiment(tmp_path)) as service:
        with service.client("admin") as client:
            answer = client.post("/v1/ask", json={"query": "where is the anchor", "unit": "u"}).json()
            trial, source = answer["trial_id"], answer["sources"][0]["passage_id"]
            comparison = client.post("/v1/comparisons", json={"query": "where is the anchor", "unit": "u"}).json()["comparison_id"]
        (tmp_path / "hooks.py").write_text(HOOKS)
        (tmp_path / "schemathesis.toml").write_text(CONFIGURATION.format(trial=trial, comparison=comparison))
        given = {"A_TRIAL": trial, "A_SOURCE": source, "A_COMPARISON": comparison}
        schemathesis = [Path(sys.executable).parent / "st", "--config-file", tmp_path / "schemathesis.toml"]
        options = ["--max-examples", "12", "--seed", "1", "--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-color"]
        done = subprocess.run(
            [*schemathesis, "run", f"{service.url}/openapi.json", "-H", f"Authorization: Bearer {service.keys['admin']}", *options],
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", **given, "PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
