"""Who looks at a page: everyone only where nobody wanted people to sign in, and looked up anew after every run."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.runtime.scriptrunner import StopException
from streamlit.runtime.secrets import Secrets

from board_pages import app_test
from ragtrial_board import access
from ragtrial_board.access import EVERYONE, NOBODY, Visitor
from ragtrial_board.beginning import run

PROVIDER = """
[auth]
redirect_uri = "http://127.0.0.1:8501/oauth2callback"
cookie_secret = "s"
client_id = "ragtrial"
client_secret = "s"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"
"""


def told(monkeypatch: pytest.MonkeyPatch, folder: Path, *, named: Path | None, looked_at: Path) -> None:
    """What the command told its pages, and where Streamlit looks for secrets, which nobody has read yet."""
    monkeypatch.setenv("RAGTRIAL_BOARD", json.dumps({"folder": str(folder), "secrets": None if named is None else str(named)}))
    option = st.get_option
    monkeypatch.setattr(st, "get_option", lambda name: [str(looked_at)] if name == "secrets.files" else option(name))
    monkeypatch.setattr("streamlit.config.get_option", st.get_option)
    monkeypatch.setattr(st, "secrets", Secrets())


@pytest.mark.parametrize("text", [PROVIDER, "[auth\n", "[auth]\nclient_id = 'x'\n", "", None])
def test_whoever_named_a_secrets_file_lets_nobody_in_unasked_whatever_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "secrets.toml"
    if text is not None:
        file.write_text(text)
    told(monkeypatch, tmp_path, named=file, looked_at=file)
    assert not access.is_open()


def test_where_streamlit_finds_a_file_that_it_can_not_read_nobody_is_let_in_unasked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secrets.toml"
    told(monkeypatch, tmp_path, named=None, looked_at=file)
    assert access.is_open(), "there is none"
    for text, is_open in (("[auth\n", False), (PROVIDER, False), ("password = 'of something else'", True)):
        file.write_text(text)
        monkeypatch.setattr(st, "secrets", Secrets())
        assert access.is_open() == is_open, text


def test_who_looks_is_one_question_for_each_run_and_asked_anew_after_one_that_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [NOBODY]
    monkeypatch.setattr(access, "looked_up", lambda: found[-1])

    class Stopped:
        """The state of a session whose run was stopped: as Streamlit's own, it ends the run wherever it is asked."""

        def __getattr__(self, name: str) -> object:
            raise StopException

    def page() -> None:
        assert access.visitor() is EVERYONE, "as at the beginning of the run"
        monkeypatch.setattr(st, "session_state", Stopped())
        raise StopException

    with pytest.raises(StopException):
        run(SimpleNamespace(run=page), EVERYONE)  # type: ignore[arg-type]  # as far as it is used
    monkeypatch.undo()
    monkeypatch.setattr(access, "looked_up", lambda: found[-1])
    assert access.visitor() is NOBODY


def test_the_command_that_gives_a_role_is_safe_to_paste(monkeypatch: pytest.MonkeyPatch) -> None:
    who = Visitor(name="https://login.example#a'; rm -rf $HOME #", role=None, scopes=frozenset(), how="login")
    monkeypatch.setattr("ragtrial_board.beginning.looked_up", lambda: who)
    test = app_test(monkeypatch, None, no_auth=False)
    (command,) = test.code
    assert command.value == """ragtrial members add EXPERIMENT.yaml 'https://login.example#a'"'"'; rm -rf $HOME #' --role viewer"""
