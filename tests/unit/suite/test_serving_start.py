"""How a service starts where its collections are there already: it looks, and neither embeds the corpus nor waits for anybody."""

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from live_service import live_experiment
from ragtrial.contracts import Kind, Vectors
from ragtrial.domain.experiment import EmbeddingSpec
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.formats.experiment import load_experiment
from ragtrial.serving.health import _Kept, _looking
from ragtrial.serving.parts import ServiceParts
from ragtrial.settings import read_settings
from ragtrial.suite.leading import leadership
from ragtrial.suite.serving import live_service

EMBEDDED: list[str] = []


class Counting(HashingEmbedder):
    """Counts the passages that it embeds, in this process."""

    def __init__(self, spec: EmbeddingSpec) -> None:
        super().__init__(model=spec.model, dimension=64)

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        EMBEDDED.extend(texts if kind == "passage" else ())
        return super().embed(texts, kind=kind, progress=progress)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = live_experiment(tmp_path)
    text = made.read_text().replace("provider: hashing", f"provider: {__name__}:Counting")
    assert "Counting" in text
    made.write_text(text)
    return made


def opened(path: Path, *, cache: str) -> ServiceParts:
    """The parts of a service on a machine of its own, whose cache of vectors is empty."""
    settings = read_settings({"RAGTRIAL_STORES_VECTORS": str(path.parent / cache)})
    return live_service(load_experiment(path, settings), settings, background=False)._open_parts()


def test_a_second_service_embeds_a_few_passages_and_waits_for_nobody_who_indexes(path: Path) -> None:
    EMBEDDED.clear()
    first = opened(path, cache="one")
    facts = first.control.search, first.treatment.search
    first.resources.close()
    assert len(EMBEDDED) >= 120  # 60 passages with each of two models
    EMBEDDED.clear()
    with leadership(load_experiment(path), "indexing").held():  # as `ragtrial index` of a new corpus does for hours
        second = opened(path, cache="two")
    second.resources.close()
    assert len(EMBEDDED) <= 2 * 16
    assert (second.control.search.collection, second.treatment.search.collection) == tuple(search.collection for search in facts)


def test_what_an_arm_follows_its_alias_to_is_the_same_model_over_the_same_passages(path: Path) -> None:
    parts = opened(path, cache="one")
    try:
        search = parts.treatment.search
        index, name, follower = search.index, search.collection, search.follower
        assert follower is not None
        assert follower._accepts is not None
        ref = index.referred(name)
        assert ref is not None
        assert (ref.name, ref.complete, index.resolve(search.alias)) == (name, True, name)
        assert follower._accepts(ref) is None
        control = index.referred(parts.control.search.collection)
        assert control is not None
        for other, why in (
            (control, "holds vectors of .* and arm 'custom' embeds with .*: start the service anew"),
            (replace(ref, corpus="another"), "passages of another corpus"),
            (replace(ref, complete=False), "not all of its passages yet"),
            (
                replace(ref, index=ref.index.replace("COSINE", "L2")),
                "an index of another kind .*L2.* than this experiment was started with",
            ),
        ):
            assert re.search(why, str(follower._accepts(other)))
        vectors = search.embedder.embed(["what?"], kind="query")
        assert search.found(["what?"], vectors) == list(index.search(name, vectors, top_k=search.top_k, model=search.embedder.identity))
    finally:
        parts.resources.close()


def test_an_arm_that_nobody_asks_is_looked_at_where_its_alias_leads(path: Path) -> None:
    parts = opened(path, cache="one")
    try:
        search = parts.control.search
        index, first = search.index, search.collection
        made = index.describe(first)
        assert made is not None
        assert search.follower is not None
        search.follower._every_s = 0.0
        index.create("made_again", model=made.model, corpus=made.corpus, parameters=made.parameters)
        index.finish("made_again")
        index.point(search.alias, "made_again")
        assert _looking(search, _Kept())() == (None, "made_again")
        assert search.searched == "made_again"
    finally:
        parts.resources.close()


def test_a_service_that_has_to_index_waits_its_turn_and_says_for_what(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lead = leadership(load_experiment(path), "indexing")
    found: list[ServiceParts] = []
    with caplog.at_level(logging.INFO, logger="ragtrial.serving"):
        with lead.held():
            thread = threading.Thread(target=lambda: found.append(opened(path, cache="one")))
            thread.start()
            end = time.monotonic() + 60
            while not caplog.records and time.monotonic() < end:
                time.sleep(0.05)
            assert not found
        thread.join(60)
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "waiting for another process, which is indexing or measuring with the same database (lock 'indexing')"
    assert said[1].startswith("a collection is to be made, completed or measured")
    found[0].resources.close()
