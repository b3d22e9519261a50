"""The environment, read in one place."""

import re
from pathlib import Path

import pytest

from ragtrial.errors import InputError, SetupError
from ragtrial.settings import STORES, read_settings


def test_without_any_variable_there_are_defaults() -> None:
    settings = read_settings({})
    assert (settings.registry, settings.torch_threads) == (".ragtrial/models", None)


def test_every_variable_stands_in_the_documentation(repository: Path) -> None:
    named = re.compile(r"(?<![A-Z_])RAGTRIAL_[A-Z_]*[A-Z]\b(?!_)")
    operating = (repository / "docs" / "operating.md").read_text()
    stores = {f"RAGTRIAL_STORES_{name.upper()}" for name in STORES}
    read_here = set(named.findall((repository / "platform/ragtrial/settings.py").read_text())) | stores
    assert len(read_here) > 15
    assert read_here <= set(named.findall(operating)), "each in the table of docs/operating.md"
    pages = "".join(path.read_text() for path in (repository / "docs").glob("*.md"))
    sources = [path for folder in ("platform", "dashboards") for path in (repository / folder).rglob("*.py")]
    assert {name for path in sources for name in named.findall(path.read_text())} <= set(named.findall(pages))


@pytest.mark.parametrize(("given", "threads"), [("4", 4), ("0", None), ("-1", None), ("many", None), ("", None), ("1.5", None)])
def test_threads_are_a_number_above_0_or_left_to_torch(given: str, threads: int | None) -> None:
    assert read_settings({"RAGTRIAL_TORCH_THREADS": given}).torch_threads == threads


def test_a_secret_that_is_unset_or_empty_is_none() -> None:
    settings = read_settings({"KEY": "s3cret", "EMPTY": ""})
    assert (settings.secret("KEY"), settings.secret("EMPTY"), settings.secret("OTHER")) == ("s3cret", None, None)


def test_what_is_read_does_not_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGTRIAL_REGISTRY", "/models")
    settings = read_settings()
    monkeypatch.setenv("RAGTRIAL_REGISTRY", "/elsewhere")
    assert settings.registry == "/models"
    assert settings.secret("RAGTRIAL_REGISTRY") == "/models"


def test_a_secret_is_read_from_the_file_that_its_variable_names(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    (tmp_path / "empty").write_text("\n")
    settings = read_settings({"KEY_FILE": str(tmp_path / "key"), "EMPTY_FILE": str(tmp_path / "empty"), "PLAIN": "p"})
    assert (settings.secret("KEY"), settings.secret("EMPTY"), settings.secret("OTHER")) == ("s3cret", None, None)
    assert [settings.given(name).origin for name in ("KEY", "PLAIN")] == ["KEY_FILE", "PLAIN"]  # type: ignore[union-attr]
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in repr(settings.given("KEY"))


def test_a_secret_that_is_given_twice_or_whose_file_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="KEY and KEY_FILE are both set"):
        read_settings({"KEY": "a", "KEY_FILE": "b"}).secret("KEY")
    with pytest.raises(SetupError, match=r"KEY_FILE names '.*nowhere', which can't be read \(No such file"):
        read_settings({"KEY_FILE": str(tmp_path / "nowhere")}).secret("KEY")


def test_the_pepper_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text("hot\n")
    assert read_settings({"RAGTRIAL_KEY_PEPPER_FILE": str(tmp_path / "pepper")}).key_pepper == "hot"


def test_stores_of_the_environment_are_known_by_name_and_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:p@h/d\n")
    settings = read_settings({"RAGTRIAL_STORES_MILVUS": "http://m:19530", "RAGTRIAL_STORES_SQL_FILE": str(tmp_path / "url")})
    assert {name: (given.value, given.origin) for name, given in settings.stores.items()} == {
        "milvus": ("http://m:19530", "RAGTRIAL_STORES_MILVUS"),
        "sql": ("postgresql://u:p@h/d", "RAGTRIAL_STORES_SQL_FILE"),
    }
    with pytest.raises(InputError, match="there is no store for RAGTRIAL_STORES_MILVIS"):
        read_settings({"RAGTRIAL_STORES_MILVIS": "x"})
