"""What a version is shown and handed on as: a model card, an exported folder, a graph of where it comes from."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import registered_models
from ragtrial.domain.pair import Pair
from ragtrial.errors import InputError, ModelError
from ragtrial.finetuning.lineage_graph import Edge, Graph, Node, graph_of, joined, of_model, of_pairs
from ragtrial.finetuning.model_card import model_card
from ragtrial.finetuning.model_export import export
from ragtrial.finetuning.registry import RegisteredModel, Registry
from ragtrial.finetuning.registry_records import Change, Note

METRICS = [
    {
        "name": "nDCG@10",
        "role": "primary",
        "baseline": 0.5,
        "custom": 0.75,
        "n": 120,
        "level": 0.95,
        "difference": 0.25,
        "low": 0.2,
        "high": 0.3,
    },
    {
        "name": "R@5",
        "role": "secondary",
        "baseline": None,
        "custom": None,
        "n": 0,
        "level": 0.95,
        "difference": None,
        "why_none": "no scores",
    },
]
RECORD: dict[str, Any] = {
    "id": "small-1",
    "experiment": "small",
    "role": "treatment",
    "against": "minilm@0123",
    "started_at": "2026-02-03T00:00:00+00:00",
    "n_queries": 120,
    "gold": "abcdef",
    "metrics": METRICS,
    "decision": "adopt custom",
    "sentence": "Adopt custom: it finds more.",
    "gate_passed": True,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return registered_models.build(tmp_path_factory.mktemp("built"), good=True)


@pytest.fixture
def model(built: Path, tmp_path: Path) -> RegisteredModel:
    return registered_models.register(Registry(tmp_path / "models"), built)


def front(card: str) -> dict[str, Any]:
    """The YAML before the Markdown."""
    return dict(yaml.safe_load(card.split("---\n")[1]))


# The card


def test_the_hubs_own_reader_understands_the_card(model: RegisteredModel) -> None:
    from huggingface_hub import ModelCard

    read = ModelCard(model_card(model, evaluations=[RECORD], licence="apache-2.0")).data
    assert (read.base_model, read.license, read.library_name, read.model_name) == ("tiny", "apache-2.0", "sentence-transformers", "tiny@v1")
    assert [(each.metric_type, each.metric_value) for each in read.eval_results] == [("ndcg_at_10", 0.75)]


def test_the_card_says_what_it_was_made_from_and_measured_with_intervals(model: RegisteredModel) -> None:
    card = model_card(model, evaluations=[RECORD], aliases=["production"])
    for said in (
        "tiny@v1 (production)",
        "| nDCG@10 | 0.5000 | 0.7500 | +0.2500 (95%: +0.2000 to +0.3000) | 120 |",
        "| R@5 | not measured | not measured | none: no scores | 0 |",
        "Verdict: Adopt custom: it finds more.",
        "| Pairs used | 200 |",
        "10 because query in the gold set",
        "| Seed | 42 |",
        "nDCG@10 0.2500 before, 0.5000 after",
        "| Licence | apache-2.0 (the base model's) |",
        "## Intended use and limits",
    ):
        assert said in card, said
    assert "secret query" not in card


def test_a_version_that_was_not_evaluated_has_no_results_and_says_so(model: RegisteredModel) -> None:
    as_control = {**RECORD, "role": "control"}
    card = model_card(model, evaluations=[as_control])
    assert "model-index" not in front(card)
    assert "not evaluated as the custom model" in card
    assert "not shown to be better" in card


def test_an_own_licence_comes_before_the_bases_and_none_is_said_to_be_none(built: Path, model: RegisteredModel, tmp_path: Path) -> None:
    assert front(model_card(model, licence="CC-BY-4.0"))["license"] == "cc-by-4.0"
    bare = registered_models.register(Registry(tmp_path / "more"), built, base={"name": "x", "revision": "1", "location": "org/x"})
    said = front(model_card(bare))
    assert (said["license"], said["license_name"], said["base_model"]) == ("other", "not-recorded", "org/x")


@pytest.mark.parametrize(
    ("data", "licence", "said"),
    [
        (None, ("other", "not-recorded"), "apache-2.0 (the base model's)"),
        ("Apache-2.0", ("apache-2.0", None), "apache-2.0"),
        (
            "CC-BY-4.0 (1 of 9 pairs not stated)",
            ("other", "data: CC-BY-4.0 (1 of 9 pairs not stated), base model: apache-2.0"),
            "data: CC-BY-4.0 (1 of 9 pairs not stated), base model: apache-2.0",
        ),
    ],
)
def test_what_the_hub_reads_as_the_models_licence_is_never_the_bases_alone(
    built: Path, tmp_path: Path, data: str | None, licence: tuple[str, str | None], said: str
) -> None:
    """Whoever finds the model by a filter on licences reads nothing else of the card."""
    card = model_card(registered_models.register(Registry(tmp_path / "models"), built, data_licence=data))
    assert (front(card)["license"], front(card).get("license_name")) == licence
    assert f"| Licence | {said} |" in card


def test_a_record_with_next_to_nothing_makes_a_card_too(tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        (folder / "modules.json").write_text("[]")

    bare = Registry(tmp_path / "models").register("bare", save=save, lineage={}, training_texts=frozenset())
    card = model_card(bare)
    assert "not recorded" in card
    assert front(card)["license"] == "other"


# The export


def test_an_export_loads_with_plain_sentence_transformers_and_gives_equal_vectors(model: RegisteredModel, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = export(model, tmp_path / "out" / "tiny", card=model_card(model))
    texts = ["aska askb", "tella", "unknown"]
    vectors = [SentenceTransformer(str(place), device="cpu").encode(texts) for place in (model.folder, folder)]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert (folder / "README.md").read_text().startswith("---\nbase_model: tiny\n")


def test_an_export_keeps_training_texts_to_itself_unless_asked(model: RegisteredModel, tmp_path: Path) -> None:
    plain = export(model, tmp_path / "plain", card="")
    whole = export(model, tmp_path / "whole", card="", training_texts=True)
    assert not (plain / "training-texts.txt").exists()
    assert (whole / "training-texts.txt").is_file()
    records = [json.loads((folder / "ragtrial.json").read_text()) for folder in (plain, whole)]
    assert ["examples" in record["pairs"] for record in records] == [False, True]
    assert [record["checksum"] for record in records] == [model.lineage["checksum"]] * 2
    assert records[1]["exported"]["checksum"] == model.lineage["checksum"]


def test_an_export_never_touches_a_folder_that_is_there_and_never_copies_a_changed_model(model: RegisteredModel, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="is there already"):
        export(model, tmp_path / "there", card="")
    (model.folder / "model.safetensors").write_bytes(b"poison")
    with pytest.raises(ModelError, match=r"checksum differs: model\.safetensors"):
        export(model, tmp_path / "out", card="")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "there"]


# The graph

VOTED = [
    Pair(query="a", passage="b", passage_id="p1", document_id="d1", origin="vote", provenance={"trials": ["t1", "t2"]}),
    Pair(query="c", passage="d", passage_id="p2", document_id="d1", origin="vote", provenance={"trials": ["t2"]}),
    Pair(query="e", passage="f", passage_id="p3", document_id="d1", origin="title"),
]


def chain(model: RegisteredModel) -> Graph:
    notes = [Note(version="v1", kind="evaluation", at="", record=RECORD)]
    promoted = Change(
        at="2026-02-04T05:06:07+00:00",
        who="ana",
        action="promote",
        version="v1",
        alias="production",
        after="v1",
        details={"operation": "op", "evaluation": "small-1"},
    )
    return graph_of(model, notes=notes, history=[promoted], pair_files={"pairs.jsonl": VOTED})


def test_a_promotion_leads_back_to_the_votes_it_learned_from(model: RegisteredModel) -> None:
    found = chain(model)
    beginnings = ("vote:t1", "vote:t2", "pairs:pairs.jsonl", "data:pairs.jsonl:title", "model:tiny@v1", "evaluation:small-1")
    for beginning in beginnings:
        assert "promotion:op" in {node.node_id for node in found.downstream([beginning]).nodes}
    assert "vote:t2" not in {node.node_id for node in found.downstream(["vote:t1"]).nodes}
    assert {node.kind for node in found.nodes} == {"vote", "data", "pairs", "base", "model", "evaluation", "promotion"}


def test_many_votes_are_one_node(model: RegisteredModel) -> None:
    many = [
        Pair(query=f"q{n}", passage="b", passage_id="p", document_id="d", origin="vote", provenance={"trials": [f"t{n}"]})
        for n in range(30)
    ]
    (node,) = [node for node in of_pairs("f", many).nodes if node.kind == "vote"]
    assert node.label == "votes on 30 trials"
    assert len([node for node in of_pairs("f", many, most_votes=None).nodes if node.kind == "vote"]) == 30


def test_graphs_are_joined_by_their_nodes_and_broken_ones_are_refused() -> None:
    first, second = (of_model(f"m@v{n}", {"base": {"name": "x", "revision": "1"}}) for n in (1, 2))
    whole = joined([first, second, first])
    assert [node.node_id for node in whole.nodes] == ["model:m@v1", "base:x@1", "model:m@v2"]
    assert len(whole.edges) == 2
    node = Node(node_id="a", kind="data", label="a")
    with pytest.raises(ValueError, match="leads to 'b'"):
        Graph(nodes=(node,), edges=(Edge(source="a", target="b"),))
    with pytest.raises(ValueError, match="twice: 'a'"):
        Graph(nodes=(node, node))


@pytest.mark.parametrize("asked", ["registry:tiny@v1", "registry:tiny@production", "registry:tiny"])
def test_a_base_that_is_a_registered_version_is_the_same_node_as_that_version(asked: str) -> None:
    found = of_model("child@v1", {"base": {"name": "tiny-v1", "revision": "1", "location": asked}})
    assert found.edges == (Edge(source="model:tiny@v1", target="model:child@v1", label="fine-tuned"),)


def test_mermaid_and_dot_hold_labels_with_quotes(model: RegisteredModel) -> None:
    odd = Graph(nodes=(Node(node_id="a", kind="data", label='the "best" #1 \\ `x`\nline'), Node(node_id="b", kind="model", label="b")))
    assert odd.mermaid() == 'flowchart LR\n    n0[("the #quot;best#quot; #35;1 \\  x  line")]:::data\n    n1[["b"]]:::model\n'
    assert 'label="the \\"best\\" #1 \\\\ `x` line"' in odd.dot()
    assert chain(model).mermaid().count("-->") == len(chain(model).edges)
    assert chain(model).as_dict()["edges"][0].keys() == {"source", "target", "label"}


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_the_dot_text(model: RegisteredModel) -> None:
    done = subprocess.run(["dot", "-Tplain"], input=chain(model).dot(), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
