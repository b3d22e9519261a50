"""The dashboard's server, started by `ragtrial dashboard` as a process of its own: `python server.py [app.py]`."""

import logging
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from streamlit.runtime.pages_manager import PagesManager

from ragtrial.errors import RagtrialError
from ragtrial_board import drawn
from ragtrial_board.border import Border
from ragtrial_board.door import Door
from ragtrial_board.readers import anything_there, opened_stores
from ragtrial_board.saying import failed
from ragtrial_board.told import Told, database_url, told

HERE = Path(__file__).parent


def build(script: str) -> st.App:
    """The server around one script of this folder: its pages, the door and the border."""
    PagesManager.uses_pages_directory = False  # app.py says which pages there are, also for whoever comes first
    return st.App(HERE / script, routes=[*Door().routes(), *drawn.routes()], middleware=[Middleware(Border)], on_script_error=_shown)


def _shown(error: Exception) -> bool:
    """What a run or a part of one that refreshes by itself failed with, in plain words and never as a traceback."""
    failed("This page", error)
    return True


def options(given: Told) -> dict[str, Any]:
    """Streamlit's options: those of `.streamlit/config.toml`, which no other file on this machine overrules, and where to listen."""
    with (HERE / ".streamlit" / "config.toml").open("rb") as file:
        kept = dict(_dotted(tomllib.load(file)))
    more = {
        "logger.level": "warning",
        "logger.hideWelcomeMessage": True,
        "server.address": given.host,
        "server.port": given.port,
        "browser.serverAddress": given.host,
        "browser.serverPort": given.port,
    }
    if given.secrets is not None:
        more["secrets.files"] = [given.secrets]
    return {**kept, **more}


def _dotted(table: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        found += _dotted(value, f"{before}{name}.") if isinstance(value, dict) else [(f"{before}{name}", value)]
    return found


def warm_up() -> None:
    """Import what pages need, draw something and read the newest verdict, so that the first visitor waits for none of it."""
    import altair as alt

    from ragtrial.report.drawing import spec_of, values
    from ragtrial.report.live_summary import read_live_summary
    from ragtrial.report.summary import read_summary

    chart = alt.Chart(values([{"at": 0}])).mark_point().encode(x="at:Q")
    drawn.draw(lambda look: spec_of(chart, look, height=20, description=""), drawn.WIDE)
    try:
        url = database_url()
        if url is None or not anything_there():
            return
        stores = opened_stores(url)
        for evaluation in stores.reader.evaluations()[-1:]:
            read_summary(stores.reader, stores.board, evaluation.evaluation_id)
        for live in stores.live.experiments()[-1:]:
            read_live_summary(stores.live, stores.live_board, live.live_id)
    except RagtrialError as error:
        logging.getLogger("ragtrial.board").warning("%s", error)  # a page says it to whoever opens one


def end_with_parent() -> None:
    """Stop when whoever started this process is gone: its end of our standard input is closed then."""
    import os
    import signal

    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    threading.Thread(target=warm_up, daemon=True, name="warm up").start()
    if "--end-with-parent" in sys.argv:
        sys.argv.remove("--end-with-parent")
        threading.Thread(target=end_with_parent, daemon=True, name="parent").start()
    build(sys.argv[1] if len(sys.argv) > 1 else "app.py").run(config=options(told()))
