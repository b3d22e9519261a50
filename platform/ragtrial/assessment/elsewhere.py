"""What such fine-tuning needed and gave on other data: a table with sources, shipped with the package."""

import re
from importlib.resources import files

import yaml

from ragtrial.domain.assessment import Elsewhere

_NO_LETTER = re.compile(r"[\W_]+")


def elsewhere(*own: str) -> tuple[Elsewhere, ...]:
    """The bundled table, without the data that are assessed: a set forecasts itself too well.

    Args:
        own: What the assessed data are called: names of their folder, corpus or experiment. They are compared without case, blanks and
            dashes, and also where they only begin with a name of the table, as in `covidqa-minilm`. Under another name a set isn't known.
    """
    text = (files("ragtrial.assessment") / "elsewhere.yaml").read_text(encoding="utf-8")
    rows = (Elsewhere(**{**row, "names": tuple(row.get("names", ()))}) for row in yaml.safe_load(text))
    called = [_plain(name) for name in own]
    return tuple(row for row in rows if not any(name.startswith(each) for each in row.names for name in called))


def _plain(name: str) -> str:
    return _NO_LETTER.sub("", name.casefold())
