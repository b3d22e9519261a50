"""A verdict as a comment on a pull or merge request, made from `report.json`: for a reader who has ten seconds.

The report may come from somebody else's branch, so nothing in it is trusted: it must be of the published schema, its texts carry out no
mark-up, name nobody, link to nothing, and never begin a line (GitLab takes lines that begin with `/` for commands).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ragtrial.domain.metric import Metric
from ragtrial.errors import InputError
from ragtrial.report import words
from ragtrial.report.json_report import SCHEMA
from ragtrial.report.markdown import GUARD_MARKS, MARKS, table_of, text

MOST_BYTES = 20_000_000
"""Of a report that is read."""

_SIGNS = {"adopt custom": "✅", "keep baseline": "⛔", "undecided": "❔", "too few": "❔", "refused": "❌"}
_MOST_METRICS = 8
_MOST_CHARACTERS = 600
_BREAK = "\N{ZERO WIDTH SPACE}"
_ACTIVE = re.compile(r"(?<!\w)@|#|://|www\.")
"""What makes mentions, references and links of plain text; the @ within a word, as in nDCG@10, makes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the comment says of where it comes from.

    Attributes:
        link: Where the full report is; None where there is no such page.
        commit: What was evaluated; None where that is not known.
        key: Tells comments of several evaluations on one request apart; the experiment's name where it is None.
    """

    link: str | None = None
    commit: str | None = None
    key: str | None = None


def read_report(path: Path) -> dict[str, Any]:
    """A `report.json` that is of the published schema.

    Raises:
        InputError: It can't be read, is too large, or is none.
    """
    from jsonschema import Draft202012Validator

    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: {path.stat().st_size:,} bytes are no report that `ragtrial evaluate` wrote: give its report.json")
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): give the report.json that `ragtrial evaluate` wrote") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}): give the report.json that `ragtrial evaluate` wrote") from error
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    fault = next(iter(Draft202012Validator(schema).iter_errors(report)), None)
    if fault is not None:
        raise InputError(f"{path}: {fault.json_path}: {fault.message[:200]}: give the report.json that this version of ragtrial wrote")
    return report


def marker(key: str) -> str:
    """What the comment begins with, unseen, so that it is found again; made of hexadecimal digits, so that no name can end it."""
    return f"<!-- ragtrial:{sha256(key.encode()).hexdigest()[:16]} -->"


def as_comment(report: Mapping[str, Any], place: Place) -> str:
    """The comment as Markdown that GitHub and GitLab show, with a line feed at its end."""
    verdict, name = report["verdict"], report["experiment"]["name"]
    title = f"### {_SIGNS[verdict['decision']]} {words.DECISIONS[verdict['decision']]} · {_safe(name)}"
    parts = [marker(place.key or name), title, _first_line(report), f"Verdict: {_safe(verdict['sentence'])}"]
    parts += [_metrics(report), _guardrails(report), _checks(report), _cost(report), _footer(report, place)]
    return "\n\n".join(part for part in parts if part) + "\n"


def without_result(name: str, place: Place) -> str:
    """What stands there instead where the evaluation came to nothing: an older verdict would be taken for this one's."""
    said = "The evaluation did not come to a result, so nothing is shown; the job's log says why."
    where = " ".join(_where(place))
    return f"{marker(place.key or name)}\n\n### ❌ No result · {_safe(name)}\n\n{said}\n\n{where}".rstrip() + "\n"


def _safe(value: str) -> str:
    """Text that does nothing: no mark-up, no mention, no reference, no link, no line break, and not endless."""
    short = value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}…"
    return text(_ACTIVE.sub(lambda found: f"{found[0]}{_BREAK}", short))


def _metric(row: Mapping[str, Any]) -> Metric:
    return Metric(name=row["name"], kind=row["kind"], unit=row["unit"], higher_is_better=row["higher_is_better"])


def _rows(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The metrics with their values: those of times stand apart in a report."""
    times = {row["name"]: row for row in report["latency"]["metrics"]}
    return [times.get(row["name"], row) for row in report["metrics"] if row["role"] != "exploratory"]


def _difference(row: Mapping[str, Any]) -> str:
    found, metric = row["difference"], _metric(row)
    if found["estimate"] is None:
        return words.NOTHING
    low, high = (words.signed(found[end], metric, unit=False) for end in ("low", "high"))
    return f"{words.signed(found['estimate'], metric)} \\[{low}, {high}\\]"


def _first_line(report: Mapping[str, Any]) -> str:
    row, verdict = report["metrics"][0], report["verdict"]
    level = f"{100 * (1 - report['plan']['alpha']):.4g}%"
    gate = f"gate `{verdict['gate']}` {'holds' if verdict['gate_passed'] else 'does not hold'}"
    if row["difference"]["estimate"] is None:
        return f"**{_safe(row['name'])}: no difference could be computed** ({_safe(row['reason'] or '')}); {gate}."
    return f"**{_safe(row['name'])} {_difference(row)}** ({level} interval, {row['n_scored']:,} of {row['n']:,} queries); {gate}."


def _metrics(report: Mapping[str, Any]) -> str:
    arms = {arm["role"]: arm["arm"] for arm in report["arms"]}
    head = ["metric", _safe(arms.get("control", "baseline")), _safe(arms.get("treatment", "custom")), "difference"]
    rows = _rows(report)
    table = table_of(head, [_row(row) for row in rows[:_MOST_METRICS]])
    left = len(rows) - _MOST_METRICS
    return table if left <= 0 else f"{table}\n\n{words.count(left, 'more metric')} in the report."


def _row(row: Mapping[str, Any]) -> list[str]:
    metric = _metric(row)
    name = f"**{_safe(row['name'])}**" if row["role"] == "primary" else _safe(row["name"])
    means = [words.number(row[arm]["mean"], metric) for arm in ("baseline", "custom")]
    return [f"{name} ({row['role']})", *means, _difference(row)]


def _guardrails(report: Mapping[str, Any]) -> str:
    lines = []
    for row in _rows(report):
        found = row["guardrail"]
        if row["role"] == "guardrail" or found is not None:
            state = "not shown" if found is None else found["state"]
            lines.append(f"- {GUARD_MARKS[state]}: guardrail {_safe(row['name'])}{_bound(found, _metric(row))}")
    return "\n".join(lines)


def _bound(found: Mapping[str, Any] | None, metric: Metric) -> str:
    if found is None or found["bound"] is None:
        return ""
    unit = "" if found["relative"] or metric.unit == "share" else f" {words.UNITS.get(metric.unit, metric.unit)}"
    form = "+.1%" if found["relative"] else "+.4g"
    return f", worse by at most {found['bound']:{form}}{unit}, tolerated is {found['margin']:{form}}{unit}"


def _checks(report: Mapping[str, Any]) -> str:
    checks: Sequence[Mapping[str, Any]] = report["checks"]
    passed = sum(check["state"] == "pass" for check in checks)
    lines = [f"{passed} of {words.count(len(checks), 'health check')} pass."]
    lines += [
        f"- {MARKS[check['state']]} {_safe(words.check_name(check['name']))}: {_safe(check['detail'])}"
        for check in checks
        if check["state"] != "pass"
    ]
    return "\n".join(lines)


def _cost(report: Mapping[str, Any]) -> str:
    """What the calls to LLMs came to, and how long an answer takes; what is not known is not counted as nothing."""
    calls = report["calls"]
    said = []
    if calls:
        known = [call["cost_usd"] for call in calls if call["cost_usd"] is not None]
        made, unpriced = sum(call["made"] for call in calls), sum(call["unpriced"] for call in calls)
        money = f"{sum(known):.4f} USD" if known else "no known price"
        more = f", {unpriced:,} of them without a known price" if unpriced and known else ""
        said.append(f"{words.count(made, 'call')} to LLMs: {money}{more}")
    medians = [row for row in report["latency"]["stages"] if row["stage"] == "total" and row["p50"] is not None]
    if medians:
        said.append("median " + ", ".join(f"{_safe(row['arm'])} {words.milliseconds(row['p50'])}" for row in medians))
    return f"Cost: {'; '.join(said)}." if said else ""


def _footer(report: Mapping[str, Any], place: Place) -> str:
    ids = f"Evaluation `{_code(report['timing']['evaluation_id'])}`, plan `{_code(report['experiment']['plan_digest'])}`."
    return " ".join([*_where(place), ids])


def _where(place: Place) -> list[str]:
    said = []
    if place.link is not None:
        said.append(f"[Full report and log]({_url(place.link)}).")
    if place.commit is not None:
        said.append(f"Commit `{_code(place.commit)[:12]}`.")
    return said


def _code(value: str) -> str:
    """Text between backticks."""
    return "".join(sign for sign in value if sign.isalnum() or sign in "-_.")


def _url(value: str) -> str:
    """A link's address, which can't end the link.

    Raises:
        InputError: It is neither http nor https.
    """
    if not value.startswith(("https://", "http://")):
        raise InputError(f"the link {value!r} is no address of a page: give one that begins with https://")
    return "".join(f"%{ord(sign):02X}" if sign in "()<>[]\\\"' \t\r\n" else sign for sign in value)
