"""What tokens cost: a dated table, and no price rather than 0 where a model isn't in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragtrial.errors import InputError

_MILLION = 1_000_000


_DEEPEST = 4


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    match: str = Field(min_length=1)
    prompt: float = Field(ge=0, allow_inf_nan=False)
    completion: float = Field(ge=0, allow_inf_nan=False)
    cached: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    source: str = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    as_of: date
    currency: str = Field(default="USD", pattern="^USD$")
    models: list[_Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for a million tokens.

    Attributes:
        prompt: Of the prompt.
        cached: Of the part of the prompt that the provider had in its cache.
        completion: Of the answer.
        as_of: The day the table was written.
    """

    prompt: float
    cached: float
    completion: float
    as_of: date

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """US dollars of one call; cached tokens are part of the prompt's."""
        fresh = prompt_tokens - min(cached_tokens, prompt_tokens)
        return (fresh * self.prompt + min(cached_tokens, prompt_tokens) * self.cached + completion_tokens * self.completion) / _MILLION


class PriceTable:
    """Prices by model name; the first entry that matches counts.

    Args:
        entries: Patterns (`gpt-4o-mini*`, case matters) with their prices, in order.
    """

    def __init__(self, entries: Sequence[tuple[str, Price]]) -> None:
        self._entries = tuple(entries)

    def price(self, model: str) -> Price | None:
        """The model's price; None where it has none."""
        return next((price for pattern, price in self._entries if fnmatchcase(model, pattern)), None)

    def cost(self, model: str, prompt_tokens: int | None, completion_tokens: int | None, cached_tokens: int | None) -> float | None:
        """US dollars of one call; None where the model has no price or the server did not tell the tokens."""
        price = self.price(model)
        if price is None or prompt_tokens is None or completion_tokens is None:
            return None
        return price.cost(prompt_tokens, completion_tokens, cached_tokens or 0)


def read_prices(path: Path | None = None) -> PriceTable:
    """The bundled table, behind the user's own where there is one.

    Raises:
        InputError: The file can't be read or is no price table; the message names the file and the field.
    """
    bundled = files("ragtrial.llm") / "prices.yaml"
    own = [] if path is None else _entries(_text(path), str(path))
    return PriceTable([*own, *_entries(bundled.read_text(encoding="utf-8"), "prices.yaml")])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"price table {str(path)!r} can't be read: {error}") from error


def _check_plain(text: str) -> None:
    """Refuse what a list of prices needs none of, and what can make a small file take hours to read.

    Raises:
        yaml.YAMLError: It has aliases, or is nested deeper than a list of mappings is.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
            raise yaml.YAMLError("it has an alias (*name) or is nested too deeply: write each model out")


def _entries(text: str, name: str) -> list[tuple[str, Price]]:
    try:
        _check_plain(text)
        table = _File.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"price table {name!r}: {where}: {first['msg']}. It needs as_of (a date) and models, each with match, prompt and completion "
            "in US dollars for a million tokens"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"price table {name!r} is no YAML: {error}") from error
    return [
        (
            entry.match,
            Price(
                prompt=entry.prompt,
                cached=entry.prompt if entry.cached is None else entry.cached,
                completion=entry.completion,
                as_of=table.as_of,
            ),
        )
        for entry in table.models
    ]
