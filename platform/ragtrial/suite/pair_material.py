"""What training pairs are made from: documents that are not for testing, their passages, and the baseline that searches them."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ragtrial.build import build_embedder
from ragtrial.chunking import cut
from ragtrial.contracts import Embedder
from ragtrial.domain.corpus import Corpus, Document, Passage
from ragtrial.domain.data import DataSpec
from ragtrial.domain.pair import SPLITS, Pair, Split
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import InputError
from ragtrial.finetuning.leakage import part_of
from ragtrial.finetuning.pairs import training_pairs
from ragtrial.formats.data import corpus_location, load_data
from ragtrial.formats.experiment import resolve_path
from ragtrial.formats.files import read_objects
from ragtrial.formats.records import read_documents
from ragtrial.formats.validation import Findings, found
from ragtrial.suite.preparing import Prepared, load

TEST_DOCUMENT = "its document is for testing"

_SPLIT: dict[str, Split] = {split: split for split in SPLITS}


@dataclass(frozen=True, kw_only=True)
class Material:
    """A corpus to make pairs from.

    Attributes:
        path: Its file.
        documents: Those that are not for testing.
        passages: Of these documents, under the experiment's chunking.
        corpus: All passages, those of test documents too.
        splits: By document; where the file names none, all are for training.
        n_test: Documents that are for testing.
    """

    path: Path
    documents: tuple[Document, ...]
    passages: tuple[Passage, ...]
    corpus: Corpus
    splits: Mapping[str, Split]
    n_test: int

    def placed(self, pair: Pair) -> Pair:
        """The pair with its document's split, where it is of this corpus."""
        own = self.corpus.by_id.get(pair.passage_id)
        if own is None or not part_of(pair, own):
            return pair
        return dataclasses.replace(pair, split=self.splits.get(pair.document_id, pair.split))


def read_material(prepared: Prepared, folder: Path | None) -> Material:
    """The corpus of a folder (or file) that `ragtrial prepare` made; or else that of the training data, or else the experiment's own.

    Raises:
        InputError: Something is wrong in the files, or all documents are for testing.
    """
    path, documents = _documents(prepared, folder)
    splits = _splits(path)
    corpus = cut(documents, prepared.experiment.chunking, path.parent.name)
    kept = tuple(document for document in documents if splits.get(document.document_id) != "test")
    if not kept:
        raise InputError(
            f"{path}: all {len(documents)} documents have the split 'test': pairs are made from others, so prepare more (ragtrial prepare)"
        )
    passages = tuple(passage for passage in corpus.passages if splits.get(passage.document_id) != "test")
    return Material(path=path, documents=kept, passages=passages, corpus=corpus, splits=splits, n_test=len(documents) - len(kept))


def _documents(prepared: Prepared, folder: Path | None) -> tuple[Path, tuple[Document, ...]]:
    if folder is not None:
        path = folder if folder.is_file() else folder / "corpus.jsonl"
        findings = Findings()
        read = read_documents(path, findings)
        return path, findings.require(tuple(read.sound.values()))
    training = prepared.experiment.training
    spec = prepared.experiment.data if training is None or training.data is None else training.data
    return corpus_path(spec, prepared.file.folder), load_data(spec, prepared.file.folder).documents


def corpus_path(spec: DataSpec, folder: Path) -> Path:
    """The `corpus.jsonl`, or the place of the shards, that a specification names."""
    return Path(corpus_location(spec, folder))


def _splits(path: Path) -> dict[str, Split]:
    """The `split` of each document whose line names one."""
    findings = Findings()
    splits: dict[str, Split] = {}
    for line, record in read_objects(path, findings, example='{"_id": "d1", "text": "...", "split": "train"}'):
        value = record.get("split")
        if isinstance(value, str) and value in _SPLIT:
            splits[str(record.get("_id"))] = _SPLIT[value]
        elif value is not None:
            findings.problem(f"is {found(value)}: expected one of {', '.join(SPLITS)}", path=str(path), line=line, field="split")
    return findings.require(splits)


def judged_pairs(prepared: Prepared) -> tuple[Pair, ...]:
    """The pairs of the training data's judgments; none where the experiment names no such data."""
    training = prepared.experiment.training
    if training is None or training.data is None:
        return ()
    corpus, gold, _ = load(training.data, prepared.file)
    return training_pairs(corpus, gold)


@contextmanager
def baseline(prepared: Prepared) -> Iterator[Embedder]:
    """The control arm's embedder over the cache of vectors.

    Raises:
        ModelError: The model can't be loaded.
        StoreError: The cache can't be opened.
    """
    embedder = build_embedder(prepared.experiment.control.embedding, prepared.around)
    with VectorCache(resolve_path(prepared.file.folder, prepared.experiment.stores.vectors)) as cache:
        yield CachedEmbedder(embedder, cache)
