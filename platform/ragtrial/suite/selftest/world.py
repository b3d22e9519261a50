"""The simulated experiment: a small corpus with its gold set, and scratch stores beside the user's own."""

import itertools
import json
import random
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ragtrial.contracts import Kind, Vectors
from ragtrial.db import engine as database
from ragtrial.db.scratch import scratch_database
from ragtrial.domain.experiment import EmbeddingSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import SetupError
from ragtrial.formats.experiment import ExperimentFile, load_experiment, milvus_uri, sql_url
from ragtrial.settings import Settings, read_settings
from ragtrial.suite.preparing import Prepared, prepare

N_PASSAGES, N_ASKED_ABOUT, N_QUERIES = 180, 120, 200
DIMENSIONS = 64
PROVIDER = "ragtrial.suite.selftest.world:ScratchEmbedder"
MIN_EFFECT = 0.02
GUARDRAILS = ({"name": "failed", "max_increase": 0.02}, {"name": "latency_ms", "max_relative_increase": 0.5})

_SYLLABLES = [first + second for first, second in itertools.product("bdfgklmnprstvz", "aeiou")]


class ScratchEmbedder:
    """`HashingEmbedder` under a name of its own, so that its collections are nobody else's.

    The specification's `model` is `TOKEN-LETTER`: the token goes into the identity and so into the collections' names, the letter alone
    makes the vectors, so that the same seed gives the same results.
    """

    def __init__(self, spec: EmbeddingSpec) -> None:
        token, _, letter = spec.model.rpartition("-")
        self._inner = HashingEmbedder(model=letter, dimension=spec.dimensions or DIMENSIONS)
        self._name = f"selftest-{token}-{letter}"

    @property
    def identity(self) -> ModelIdentity:
        """Token, letter and dimension."""
        return ModelIdentity(name=self._name, revision="1", dimension=self._inner.identity.dimension)

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Any = None) -> Vectors:
        """See `contracts.Embedder`."""
        return self._inner.embed(texts, kind=kind, progress=progress)

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Words."""
        return self._inner.count_tokens(texts)


@dataclass(frozen=True, kw_only=True)
class World:
    """Where the self-test lives; all of it is gone at the end.

    Attributes:
        folder: Its files.
        token: What its collections, aliases and databases have in their names.
        seed: Where every random step comes from.
        sql: URL of the scratch database.
        milvus: Address of the server, or path of a scratch Milvus Lite.
        milvus_token_env: Environment variable with the server's token.
        beside: URL of the database beside which further scratch databases are made.
        settings: The environment, without what would lead to other stores than these.
        alpha: What the plans allow of false verdicts.
    """

    folder: Path
    token: str
    seed: int
    sql: str
    milvus: str
    milvus_token_env: str
    beside: str
    settings: Settings
    alpha: float = 0.05

    @property
    def shown(self) -> tuple[str, str]:
        """SQL and Milvus, in words and without secrets."""
        sql = database.parse_url(self.sql)
        words = "SQLite" if sql.get_backend_name() == "sqlite" else f"PostgreSQL at {sql.host or 'a local socket'}"
        return words, f"Milvus at {re.sub(r'//[^/]*@', '//', self.milvus)}" if "://" in self.milvus else "Milvus Lite"

    def experiment(self, name: str, *, live: Mapping[str, Any] | None = None, models: str = "aa", **changes: Any) -> Path:
        """Write an experiment file on the scratch stores.

        Args:
            name: Of the experiment; the token goes before it.
            live: Keys of the `live` section that are replaced; None: no such section.
            models: A letter for each arm: equal ones are an A/A.
            changes: Top-level keys that are replaced.
        """
        roles = (("baseline", "control"), ("custom", "treatment"))
        arms = [
            {"name": arm, "role": role, "embedding": {"provider": PROVIDER, "model": f"{self.token}-{letter}", "dimensions": DIMENSIONS}}
            for (arm, role), letter in zip(roles, models, strict=True)
        ]
        content: dict[str, Any] = {
            "name": f"selftest-{self.token}-{name}",
            "hypothesis": "Simulated, to try what watches over experiments.",
            "data": {"format": "beir", "path": "data", "split": "test"},
            "arms": arms,
            "metrics": {"primary": {"name": "nDCG@10", "min_effect": MIN_EFFECT}},
            "analysis": {"alpha": self.alpha, "resamples": 1000, "latency_queries": 0, "seed": self.seed},
            "stores": {"sql": self.sql, "milvus": self.milvus, "milvus_token_env": self.milvus_token_env},
        }
        if live is not None:
            metrics = {"primary": {"name": "nDCG@10", "min_effect": MIN_EFFECT}, "guardrails": [dict(each) for each in GUARDRAILS]}
            content["live"] = {"metrics": metrics, "salt": f"selftest-{self.seed}-{name}", "solicit": 0.3, **live}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False), encoding="utf-8")
        return path

    def file(self, path: Path) -> ExperimentFile:
        """The experiment of a file on the scratch stores, whatever stores the environment names."""
        return load_experiment(path, self.settings)

    def prepared(self, path: Path) -> Prepared:
        """The experiment with its data."""
        return prepare(path, settings=self.settings)

    def rng(self, *key: int) -> np.random.Generator:
        """A generator of its own for each use."""
        return np.random.default_rng([self.seed, *key])


@contextmanager
def world(file: ExperimentFile | None, settings: Settings, *, seed: int) -> Iterator[World]:
    """Make the scratch stores beside those of an experiment, or in a temporary folder; all of it is removed at the end.

    A Milvus server gets scratch collections. Milvus Lite gets a folder of its own beside the experiment's, on the same disk: one folder can
    be open in one process only, and a service may have it.

    Args:
        file: Whose stores; None: SQLite and Milvus Lite in a temporary folder.
        settings: The environment.
        seed: Where every random step comes from.

    Raises:
        SetupError: There is no room or permission for scratch stores.
        StoreError: A store is out of reach.
    """
    token = secrets.token_hex(4)
    with ExitStack() as stack:
        folder = _folder(file, token, stack)
        beside = f"sqlite:///{folder / 'beside.db'}" if file is None else sql_url(file)
        milvus, env = str(folder / "milvus.db"), "RAGTRIAL_MILVUS_TOKEN"
        if file is not None:
            env = file.experiment.stores.milvus_token_env
            if "://" in milvus_uri(file):
                milvus = milvus_uri(file)
                stack.callback(_remove_collections, milvus, settings.secret(env), f"rt_selftest_{token}")
        sql = stack.enter_context(scratch_database(beside, f"ragtrial_selftest_{token}", folder=folder))
        _write_data(folder / "data", seed)
        alpha = 0.05 if file is None else file.experiment.analysis.alpha
        made = World(
            folder=folder,
            token=token,
            seed=seed,
            sql=sql,
            milvus=milvus,
            milvus_token_env=env,
            beside=beside,
            settings=own_settings(settings),
            alpha=alpha,
        )
        _check_scratch(made)
        yield made


def own_settings(settings: Settings) -> Settings:
    """The environment as scratch stores need it.

    What it says of stores holds instead of what a file says, and has gone into the experiment that the scratch stores are made beside; here
    it would lead to the user's own. Nor is a file of ours confined, which names a class of ours.
    """
    leading = ("RAGTRIAL_STORES_", "RAGTRIAL_SQL_PASSWORD", "RAGTRIAL_CONFINE_TO")
    return read_settings({name: value for name, value in settings.environment.items() if not name.startswith(leading)})


def _check_scratch(made: World) -> None:
    """Whether a file of ours leads to the scratch stores, whatever becomes of how stores are chosen: before anything is written."""
    found = made.file(made.experiment("first"))
    if (sql_url(found), milvus_uri(found)) != (made.sql, made.milvus):
        raise SetupError("the self-test would not have run on its scratch stores, so nothing was done: please report this")


def _folder(file: ExperimentFile | None, token: str, stack: ExitStack) -> Path:
    """A folder of the test's own, on the disk of the experiment's SQLite where it has one; removed with the folders that were made for it."""
    parent = Path(tempfile.gettempdir())
    if file is not None:
        sql = database.parse_url(sql_url(file))
        parent = Path(sql.database).parent if sql.get_backend_name() == "sqlite" and sql.database else file.folder / ".ragtrial"
    folder = parent / f"selftest-{token}"
    stack.callback(_remove, folder, [above for above in folder.parents if not above.exists()])
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise SetupError(f"can't make the scratch folder {str(folder)!r}: {error.strerror}") from error
    return folder


def _remove(folder: Path, above: Sequence[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # somebody else has put something there meanwhile
        for each in above:
            each.rmdir()


def _remove_collections(uri: str, token: str | None, prefix: str) -> None:
    from ragtrial.index.milvus_scratch import remove_scratch

    remove_scratch(uri, token=token, prefix=prefix)


def _write_data(folder: Path, seed: int) -> None:
    """A BEIR folder: a query shares some words with its passage, so that retrieval finds much but not all of it.

    Only the first passages are asked about, so that there is something left that a model may be trained on.
    """
    chance = random.Random(f"selftest {seed}")  # noqa: S311 - words of a made-up corpus, no secret
    words = ["".join(chance.choices(_SYLLABLES, k=3)) for _ in range(400)]
    passages, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for number in range(N_PASSAGES):
        sentences = [" ".join(chance.choices(words, k=9)).capitalize() + "." for _ in range(3)]
        passages.append({"_id": f"p{number}", "title": f"Part {number}", "text": " ".join(sentences)})
    for number in range(N_QUERIES):
        target = number % N_ASKED_ABOUT
        text = " ".join([*chance.sample(_words(passages[target]["text"]), 4), *chance.choices(words, k=3)])
        queries.append({"_id": f"q{number}", "text": text, "answers": [passages[target]["text"].split(". ")[0]]})
        qrels.append(f"q{number}\tp{target}\t1")
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", passages), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n", encoding="utf-8")


def _words(text: str) -> list[str]:
    return text.lower().replace(".", "").split()
