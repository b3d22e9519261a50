"""What such fine-tuning needed and gave on other data: a table with sources, shipped with the package."""

from importlib.resources import files

import yaml

from ragtrial.domain.assessment import Elsewhere


def elsewhere() -> tuple[Elsewhere, ...]:
    """The bundled table."""
    text = (files("ragtrial.assessment") / "elsewhere.yaml").read_text(encoding="utf-8")
    return tuple(Elsewhere(**row) for row in yaml.safe_load(text))
