"""Where the corpus and the gold set of an experiment, or the judgments of a training, are."""

from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.described import STRICT, described

DataFormat = Literal["beir", "trec", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Where the corpus and the gold set are."""

    __pydantic_config__ = STRICT

    format: DataFormat = described(
        "beir: a folder with corpus.jsonl, queries.jsonl, qrels/<split>.tsv or spans/<split>.tsv. trec: qrels in TREC format. "
        "table: a CSV, JSONL or Parquet gold set with ragas column names.",
        default="beir",
    )
    path: str = described("The BEIR folder, the TREC qrels file or the gold table, relative to the experiment file.")
    split: str = described("Which qrels to use.", default="test")
    corpus: str | None = described(
        "The corpus.jsonl, or its shards: a folder or a glob of JSON-lines or Parquet files, or their address (s3://...); relative to the "
        "experiment file. trec and table need it; beir takes the folder's own corpus.jsonl without it.",
        default=None,
    )
    queries: str | None = described("trec: the queries.jsonl, relative to the experiment file.", default=None)
