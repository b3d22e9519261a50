"""Price tables: what matches, what a call costs, what is refused."""

from pathlib import Path

import pytest

from ragtrial.errors import InputError
from ragtrial.llm.prices import read_prices


def test_the_bundled_table_prices_a_call_with_its_cached_part():
    price = read_prices().price("gpt-4o-mini")
    assert price is not None
    assert price.cost(1_000_000, 0) == pytest.approx(0.15)
    assert price.cost(0, 1_000_000) == pytest.approx(0.60)
    assert price.cost(1_000_000, 0, 400_000) == pytest.approx(0.6 * 0.15 + 0.4 * 0.075)
    assert price.cost(100, 0, 500) == price.cost(100, 0, 100)  # never more cached than there were


def test_a_model_that_is_not_in_it_has_no_price():
    prices = read_prices()
    assert prices.price("my-own") is None
    assert prices.price("gpt-4o-mini-of-somebody-else") is None
    assert prices.price("GPT-4o-mini") is None


def test_the_users_own_entries_come_first_and_take_patterns(tmp_path: Path):
    path = tmp_path / "prices.yaml"
    path.write_text(
        "as_of: 2026-01-01\nmodels:\n  - {match: 'gpt-4o*', prompt: 9, completion: 9}\n  - {match: local, prompt: 0, completion: 0}\n"
    )
    prices = read_prices(path)
    dear, free = prices.price("gpt-4o-mini"), prices.price("local")
    assert dear is not None
    assert free is not None
    assert (dear.prompt, dear.cached) == (9, 9)  # without a price of its own, the cached part costs as the rest
    assert free.cost(10**6, 10**6) == 0.0
    assert prices.price("gpt-4.1") is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: []", "as_of"),
        ("as_of: 2026-01-01\nmodels: [{match: a, prompt: -1, completion: 1}]", r"models\.0\.prompt"),
        ("as_of: 2026-01-01\nmodels: [{match: a, prompt: .nan, completion: 1}]", r"models\.0\.prompt"),
        ("as_of: 2026-01-01\nmodels: [{match: a, prompt: 1}]", r"models\.0\.completion"),
        ("as_of: 2026-01-01\nmodels: [{match: a, promt: 1, prompt: 1, completion: 1}]", r"models\.0\.promt"),
        ("as_of: 2026-01-01\ncurrency: EUR\nmodels: []", "currency"),
        ("just text", "the file"),
        ("", "the file"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_table_that_is_none_names_the_file_and_the_field(tmp_path: Path, text: str, said: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"mine\.yaml.*{said}"):
        read_prices(path)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="can't be read"):
        read_prices(tmp_path / "none.yaml")
