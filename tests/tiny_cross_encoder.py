"""A cross-encoder so small that it is trained in seconds: two layers of random weights, one output."""

from collections.abc import Sequence
from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def build(folder: Path, words: Sequence[str], *, n_labels: int = 1, max_length: int = 64, seed: int = 0) -> Path:
    """A random BERT with a classification head over these words, saved as sentence-transformers saves cross-encoders."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    source = folder / "source"
    source.mkdir(parents=True)
    vocabulary = [*SPECIAL, *dict.fromkeys(words)]
    (source / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_length,
        num_labels=n_labels,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertForSequenceClassification(config).save_pretrained(source)
    BertTokenizerFast(str(source / "vocab.txt"), model_max_length=max_length).save_pretrained(source)
    CrossEncoder(str(source), device="cpu", max_length=max_length, local_files_only=True).save_pretrained(str(folder / "model"))
    return folder / "model"


def train(folder: Path, queries: Sequence[str], passages: Sequence[str], *, most: int = 600, enough: float = 0.05) -> None:
    """Teach the model of this folder that each query is answered by the passage at its place, and by none of the others."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
    torch.manual_seed(0)
    pairs = [(query, passage) for query in queries for passage in passages]
    labels = torch.eye(len(queries), len(passages)).reshape(-1)
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(float(len(passages))))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    features = model.preprocess(pairs)
    model.train()
    for _ in range(most):
        optimizer.zero_grad()
        lost = loss(model(dict(features))["scores"].reshape(-1), labels)
        lost.backward()
        optimizer.step()
        if lost.item() < enough:
            break
    model.save_pretrained(str(folder))
