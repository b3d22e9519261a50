"""A sentence-transformers model so small that it is trained in a second: two layers of random weights."""

import random
from pathlib import Path

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.dev import DevSet

N_WORDS = 24
QUERY_WORDS = [f"ask{chr(97 + n)}" for n in range(N_WORDS)]
PASSAGE_WORDS = [f"tell{chr(97 + n)}" for n in range(N_WORDS)]


def build(folder: Path, *, max_seq_length: int = 48, seed: int = 0) -> Path:
    """A random BERT with mean pooling, dropout on, that knows the words of `lesson`."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    source = folder / "source"
    source.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *QUERY_WORDS, *PASSAGE_WORDS]
    (source / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(source)
    BertTokenizerFast(str(source / "vocab.txt")).save_pretrained(source)
    transformer = Transformer(str(source), max_seq_length=max_seq_length)
    SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu").save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def lesson(n: int, *, seed: int) -> tuple[Pair, ...]:
    """Pairs in which the passage says in `tell` words what the query says in `ask` words: no word is shared, all must be learnt."""
    rng = random.Random(seed)
    pairs = []
    for number in range(n):
        said = rng.sample(range(N_WORDS), 3)
        query, passage = (" ".join(words[i] for i in said) for words in (QUERY_WORDS, PASSAGE_WORDS))
        pairs.append(Pair(query=query, passage=passage, passage_id=f"p{number}", document_id=f"p{number}"))
    return tuple(pairs)


def examination(n: int, *, seed: int) -> DevSet:
    """A dev set of the same kind."""
    pairs = lesson(n, seed=seed)
    passages = tuple(
        Passage(passage_id=pair.passage_id, document_id=pair.document_id, text=pair.passage, start=0, end=len(pair.passage))
        for pair in pairs
    )
    gold = GoldSet(
        name="dev",
        queries=tuple(Query(query_id=f"q{number}", text=pair.query) for number, pair in enumerate(pairs)),
        judgments=tuple(Judgment(query_id=f"q{number}", target_id=pair.passage_id, grade=1) for number, pair in enumerate(pairs)),
    )
    return DevSet(gold=gold, passages=passages)
