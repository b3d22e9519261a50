"""The golden vectors of the split, against ragtrial and against the programs in docs/splitting.md."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ragtrial.domain.live import LayerSpec, TrafficState
from ragtrial.splitting import Split, bucket_of, counts, drawn, pseudonym
from servers import postgres_server

VECTORS = json.loads(Path(__file__).with_name("splitting_vectors.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def snippets(repository: Path) -> dict[str, str]:
    """The programs of docs/splitting.md by language; of several in one language the first."""
    found = re.findall(r"```(\w+)\n(.*?)```", (repository / "docs" / "splitting.md").read_text(encoding="utf-8"), re.DOTALL)
    return dict(reversed(found))


def in_utf8(text):
    """Whether a program without a rule for half surrogate pairs can hash it."""
    return text is None or not any("\ud800" <= char <= "\udfff" for char in text)


def ours(split):
    return Split(
        mode=split["mode"],
        control=split["control"],
        treatment=split["treatment"],
        salt=split["salt"],
        layer=LayerSpec(**split["layer"]) if "layer" in split else None,
        n_held_out=round(split.get("holdout", 0) * 10_000),
        holdout_salt=split.get("holdout_salt", "holdout"),
        allow=frozenset(split.get("allow", ())),
        deny=frozenset(split.get("deny", ())),
        overrides=split.get("overrides", {}),
    )


def test_ragtrials_buckets_pseudonyms_and_samples_are_the_golden_ones():
    assert [bucket_of(row["salt"], row["unit"]) for row in VECTORS["buckets"]] == [row["bucket"] for row in VECTORS["buckets"]]
    assert [pseudonym(row["unit"]) for row in VECTORS["pseudonyms"]] == [row["pseudonym"] for row in VECTORS["pseudonyms"]]
    samples = VECTORS["samples"]
    assert [drawn(row["salt"], row["key"], row["share"]) for row in samples] == [row["drawn"] for row in samples]


def test_ragtrials_assignments_are_the_golden_ones():
    for row in VECTORS["assignments"]:
        assigned = ours(row["split"]).assign(row["unit"], TrafficState(version=1, **row["state"]), override=row["override"])
        assert {name: getattr(assigned, name) for name in row["expected"]} == row["expected"], row


def test_ragtrials_numbers_of_buckets_are_the_golden_ones():
    for row in VECTORS["counts"]:
        traffic = TrafficState(version=1, share=row["share"], treatment=row["treatment"])
        assert counts(traffic) == (row["n_control"], row["n_treatment"]), row


def test_the_golden_assignments_have_every_reason():
    reasons = {row["expected"]["reason"] for row in VECTORS["assignments"]}
    assert reasons == {"split", "override", "no unit", "outside", "holdout", "denied", "stopped"}


def test_the_documents_python_gives_the_golden_assignments(snippets):
    program = {}
    exec(snippets["python"], program)  # noqa: S102  it stands in our own document
    for row in VECTORS["assignments"]:
        assert program["assign"](row["split"], row["state"], row["unit"], row["override"]) == row["expected"], row
    for row in VECTORS["buckets"]:
        assert not in_utf8(row["unit"]) or program["bucket"](row["salt"], row["unit"]) == row["bucket"]


def test_the_documents_javascript_gives_the_golden_buckets_and_assignments(snippets, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    program = tmp_path / "split.cjs"
    program.write_text(
        snippets["javascript"]
        + """
const vectors = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify({
  buckets: vectors.buckets.map((row) => bucket(row.salt, row.unit)),
  assignments: vectors.assignments.map((row) => assign(row.split, row.state, row.unit, row.override)),
}));
"""
    )
    done = subprocess.run([node, program], input=json.dumps(VECTORS), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["buckets"] == [row["bucket"] for row in VECTORS["buckets"]]
    assert found["assignments"] == [row["expected"] for row in VECTORS["assignments"]]


def test_the_documents_sql_gives_the_golden_buckets(snippets):
    why_not = postgres_server.why_not()
    if why_not is not None:
        pytest.skip(why_not)
    import psycopg

    rows = [row for row in VECTORS["buckets"] if in_utf8(row["unit"]) and "\x00" not in row["unit"]]  # which no text in PostgreSQL holds
    with postgres_server.running() as url, psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as connection:
        connection.execute(snippets["sql"])
        found = [connection.execute("SELECT bucket(%s, %s)", (row["salt"], row["unit"])).fetchone()[0] for row in rows]
    assert found == [row["bucket"] for row in rows]
    assert len(rows) > 60
