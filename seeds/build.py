"""Make the seeds' data files from what people wrote: `docs/*.md`, `gold/*.jsonl`, `training/docs/*.md`, `training/*.jsonl`.

    python seeds/build.py            writes corpus.jsonl, queries.jsonl, spans/test.tsv and training/{corpus,queries}.jsonl, training/qrels/
    python seeds/build.py --check    writes nothing; exits 1 where the files are not what it would write

Quotes become character spans of their document, so that the judgments survive another chunking; pooled judgments (`gold/pooled/`) are
spans already. Training sections are the passages of the training folder; every seventh training document is its dev split.
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
AREAS = ("quay", "yard", "gate", "platform")
DEV_EVERY = 7


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    files = {**gold_files(), **training_files()}
    stale = [name for name, text in files.items() if not (HERE / name).is_file() or (HERE / name).read_text("utf-8") != text]
    if check:
        for name in stale:
            print(f"seeds/{name} is not what seeds/build.py makes: run python seeds/build.py")
        return 1 if stale else 0
    for name, text in files.items():
        (HERE / name).parent.mkdir(parents=True, exist_ok=True)
        (HERE / name).write_text(text, "utf-8")
    print(f"wrote {len(files)} files, {len(stale)} of them changed")
    return 0


def gold_files() -> dict[str, str]:
    """The BEIR folder: documents, queries, and judgments on spans."""
    documents = read_documents(HERE / "docs")
    texts = {document["_id"]: document["text"] for document in documents}
    queries, spans = [], ["query-id\tdoc-id\tstart\tend\tscore"]
    for area in AREAS:
        for number, entry in read_lines(HERE / "gold" / f"{area}.jsonl"):
            queries.append(
                {"_id": entry["id"], "text": entry["text"], "answers": entry["answers"]}
                | {"tags": {"area": area, "topic": entry["topic"], "difficulty": entry["difficulty"]}}
            )
            for judgment in entry["judgments"]:
                start = span_start(texts[judgment["doc"]], judgment["quote"], f"gold/{area}.jsonl:{number}")
                spans.append(f"{entry['id']}\t{judgment['doc']}\t{start}\t{start + len(judgment['quote'])}\t{judgment['grade']}")
        for _, pooled in read_lines(HERE / "gold" / "pooled" / f"{area}.jsonl"):
            document, _, offsets = pooled["passage"].rpartition("#")
            start, end = offsets.split("-")
            spans.append(f"{pooled['id']}\t{document}\t{start}\t{end}\t{pooled['grade']}")
    return {"corpus.jsonl": lines(documents), "queries.jsonl": lines(queries), "spans/test.tsv": "\n".join(spans) + "\n"}


def training_files() -> dict[str, str]:
    """The BEIR folder of the training pairs: a passage for each section of the training documents."""
    passages, places, split_of = [], {}, {}
    for position, document in enumerate(read_documents(HERE / "training" / "docs")):
        split = "dev" if position % DEV_EVERY == DEV_EVERY - 1 else "train"
        for number, (heading, text) in enumerate(sections(document["text"])):
            passage_id = f"{document['_id']}-{number}"
            passages.append({"_id": passage_id, "title": document["title"], "text": f"{heading}\n\n{text}", "doc": document["_id"]})
            places[document["_id"], heading] = passage_id
            split_of[passage_id] = split
    queries = []
    qrels = {"train": ["query-id\tcorpus-id\tscore"], "dev": ["query-id\tcorpus-id\tscore"]}
    for area in AREAS:
        for number, pair in read_lines(HERE / "training" / f"{area}.jsonl"):
            query_id = f"{area}-t-{number:03d}"
            passage_id = places[pair["doc"], pair["section"]]
            queries.append({"_id": query_id, "text": pair["query"], "doc": pair["doc"]})
            qrels[split_of[passage_id]].append(f"{query_id}\t{passage_id}\t1")
    files = {"training/corpus.jsonl": lines(passages), "training/queries.jsonl": lines(queries)}
    return files | {f"training/qrels/{split}.tsv": "\n".join(rows) + "\n" for split, rows in qrels.items()}


def read_documents(folder: Path) -> list[dict[str, str]]:
    """Each Markdown file as a document: its id is the file's name, its title the first heading."""
    documents = []
    for path in sorted(folder.glob("*.md")):
        heading, _, text = path.read_text("utf-8").partition("\n")
        documents.append({"_id": path.stem, "title": heading.removeprefix("# ").strip(), "text": text.strip()})
    return documents


def sections(text: str) -> list[tuple[str, str]]:
    """The `##` sections of a document: heading and text."""
    parts = ("\n" + text).split("\n## ")[1:]
    return [(heading.strip(), body.strip()) for heading, _, body in (part.partition("\n") for part in parts)]


def read_lines(path: Path) -> list[tuple[int, dict]]:
    """Objects of a JSON Lines file with their line numbers."""
    return [(number, json.loads(line)) for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1) if line.strip()]


def span_start(text: str, quote: str, where: str) -> int:
    """Where the quote starts; it must occur exactly once."""
    if text.count(quote) != 1:
        sys.exit(f"{where}: this quote occurs {text.count(quote)} times in its document, expected once: {quote!r}")
    return text.index(quote)


def lines(items: list[dict]) -> str:
    """Items as JSON Lines."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


if __name__ == "__main__":
    sys.exit(main())
