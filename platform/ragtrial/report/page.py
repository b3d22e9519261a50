"""What all pages share: colours of states, words of roles, and the template's environment."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ragtrial.domain.verdict import Check, Decision
from ragtrial.report.drawing import DARK, LIGHT
from ragtrial.report.svg import COLOURS

TONES: dict[Decision, str] = {
    "adopt custom": "good",
    "keep baseline": "calm",
    "undecided": "open",
    "too few": "open",
    "refused": "bad",
}
SIGNS = {"good": "✓", "calm": "●", "open": "?", "bad": "✕"}
CHECK_TONES = {"pass": "good", "warn": "open", "fail": "bad", "unknown": "calm"}
CHECK_SIGNS = {"pass": "✓", "warn": "!", "fail": "✕", "unknown": "?"}
URGENCY = ("fail", "warn", "unknown", "pass")
ROLES = {
    "primary": "Primary: decides",
    "secondary": "Secondary: counted where the primary is shown",
    "guardrail": "Guardrails: must not get worse",
    "exploratory": "Exploratory: shown without a claim",
}


def rendered(template: str, **names: Any) -> str:
    """A page from a template in `templates/`, with what every page needs."""
    folder = Path(__file__).with_name("templates")
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(
        light={name: getattr(LIGHT, name) for name in COLOURS},
        dark={name: getattr(DARK, name) for name in COLOURS},
        signs=SIGNS,
        check_tone=check_tone,
        check_sign=check_sign,
        **names,
    )


def check_tone(check: Check) -> str:
    """Name of the colours of a check."""
    return CHECK_TONES[check.state]


def check_sign(check: Check) -> str:
    """A sign for those who do not see the colours."""
    return CHECK_SIGNS[check.state]
