"""The server of the tester's page, started by `ragtrial tester` as a process of its own: `python tester_server.py`."""

import logging
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from streamlit.runtime.pages_manager import PagesManager

from ragtrial_board.tester_door import TesterBorder, TesterDoor
from ragtrial_board.tester_told import tester_told
from ragtrial_board.told import Told
from server import options

HERE = Path(__file__).parent


def build() -> st.App:
    """The server around the one script: the pages of the dashboard beside it are none of its."""
    PagesManager.uses_pages_directory = False
    return st.App(HERE / "tester.py", routes=TesterDoor().routes(), middleware=[Middleware(TesterBorder)])


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    given = tester_told()
    build().run(config=options(Told(host=given.host, port=given.port)))
