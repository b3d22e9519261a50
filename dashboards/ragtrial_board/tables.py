"""Tables that can be sorted, searched and downloaded."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from ragtrial.domain.inert import inert_cell
from ragtrial.report import words
from ragtrial_board.naming import download_name, slug
from ragtrial_board.saying import escaped

Rows = Sequence[Mapping[str, Any]] | pd.DataFrame


def table(
    key: str,
    rows: Rows,
    *,
    columns: Mapping[str, Any] | None = None,
    caption: str | None = None,
    height: int | None = None,
    whole: Callable[[], Rows] | None = None,
) -> None:
    """A table with its downloads, which are made when somebody asks for them.

    Args:
        key: Names it on its page; the file that is downloaded, too.
        rows: Its rows, all with the same columns.
        columns: `st.column_config` of columns.
        caption: What it holds, below.
        height: In pixels; by default as high as its rows, up to ten of them.
        whole: Reads what a download holds, where that is more than is shown.
    """
    frame = _frame_of(rows)
    st.dataframe(
        frame,
        column_config=dict(columns or {}),
        hide_index=True,
        height=height or "auto",
        width="stretch",
        key=f"table {key}",
        placeholder=words.NOTHING,  # what was not measured is no "None" and no 0
    )
    if caption:
        st.html(f'<p class="rt-caption">{escaped(caption)}</p>')
    downloads(key, whole or frame)


def formats(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns of a table of metrics: four digits for numbers, the name always in sight."""
    numbers = {name for row in rows for name, value in row.items() if isinstance(value, float)}
    return {"metric": st.column_config.TextColumn(pinned=True), **{name: st.column_config.NumberColumn(format="%.4f") for name in numbers}}


def downloads(key: str, rows: Rows | Callable[[], Rows]) -> None:
    """A table's downloads alone, for what a page shows in another form.

    Args:
        key: Names the table on its page; the file that is downloaded, too.
        rows: Its rows, all with the same columns, or what reads them when somebody asks.
    """
    name = download_name(key)
    with st.container(horizontal=True, key=f"downloads-table-{slug(key)}"):
        st.download_button(
            "CSV",
            lambda: csv_of(_frame_of(rows)),
            file_name=f"{name}.csv",
            mime="text/csv",
            key=f"csv {key}",
            type="tertiary",
            on_click="ignore",
            help="Download this table as CSV",
        )
        st.download_button(
            "Parquet",
            lambda: parquet_of(_frame_of(rows)),
            file_name=f"{name}.parquet",
            mime="application/vnd.apache.parquet",
            key=f"parquet {key}",
            type="tertiary",
            on_click="ignore",
            help="Download this table as Parquet, with its types",
        )


def _frame_of(rows: Rows | Callable[[], Rows]) -> pd.DataFrame:
    found = rows() if callable(rows) else rows
    return found if isinstance(found, pd.DataFrame) else pd.DataFrame(list(found))


def csv_of(frame: pd.DataFrame) -> bytes:
    """The table as CSV. Texts that a spreadsheet would run as a formula begin with an apostrophe, as spreadsheets write texts themselves."""
    texts = frame.select_dtypes(include=["object", "str"])
    inert = {str(column): texts[column].map(lambda value: inert_cell(value) if isinstance(value, str) else value) for column in texts}
    return frame.assign(**inert).to_csv(index=False).encode()


def parquet_of(frame: pd.DataFrame) -> bytes:
    """The table as Parquet, as it is."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
