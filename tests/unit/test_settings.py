"""The environment, read in one place."""

import pytest

from ragtrial.settings import read_settings


def test_without_any_variable_there_are_defaults() -> None:
    settings = read_settings({})
    assert (settings.registry, settings.torch_threads) == (".ragtrial/models", None)


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
