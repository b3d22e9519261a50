"""Every parser of the project as a function of bytes: it returns where the bytes gave a value, or were refused in our own words.

Anything else that comes out of one is a finding. The same functions are run by Hypothesis (`tests/properties/test_any_bytes.py`), by atheris
(`make fuzz`) and over the corpus that is kept (`tests/fuzz/test_corpus.py`).
"""

import contextlib
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pydantic

from ragtrial.api.wire import AskIn, EventIn, FeedbackIn, TrafficIn
from ragtrial.api.wire_comparing import CompareIn, PreferenceIn
from ragtrial.api.wire_openai import ChatIn
from ragtrial.domain.preparation import TicketFields
from ragtrial.embedding.exporting import verify
from ragtrial.errors import InputError, ModelError, RagtrialError, ValidationError
from ragtrial.finetuning.registry import LINEAGE, Registry
from ragtrial.finetuning.registry_records import INTENT, RECORDS, read_records
from ragtrial.formats.beir import check_beir
from ragtrial.formats.experiment import parse_experiment
from ragtrial.formats.foreign_scores import read_scores
from ragtrial.formats.labels import read_labels
from ragtrial.formats.pairs import read_pairs
from ragtrial.formats.policy import load_policy
from ragtrial.formats.preparation import load_preparation
from ragtrial.formats.query_log import read_query_log
from ragtrial.formats.tables import read_table
from ragtrial.formats.terms import read_similarities, read_terms
from ragtrial.formats.trec import read_qrels, read_run
from ragtrial.formats.validation import Findings
from ragtrial.llm.chat import ChatRequest, Endpoint, Sampling
from ragtrial.llm.client import AttemptError, ChatClient
from ragtrial.llm.headers import retry_after
from ragtrial.llm.prices import read_prices
from ragtrial.llm.structured import json_object
from ragtrial.preparation.loading import load
from ragtrial.preparation.source_files import SourceFile
from ragtrial.scoring.umbrela import read_grade
from ragtrial.scoring.verdicts import read_verdict
from ragtrial.splitting import bucket_of, pseudonym
from ragtrial.suite.importing import Kind, import_file, lines_of
from ragtrial.suite.promotion_journal import read_intent

_CORPUS = '{"_id": "d1", "title": "Gate", "text": "The gate opens at six."}\n{"_id": "d2", "text": "Trucks wait in the lane."}\n'
_QUERIES = '{"_id": "q1", "text": "When does the gate open?"}\n'


_TRACES = {
    "data": [
        {"traceId": "t1", "datasetRunName": "a", "datasetItemId": "i1"},
        {"traceId": "t2", "datasetRunName": "b", "datasetItemId": "i1"},
    ]
}
_SCORES = {"data": [{"traceId": "t1", "name": "helpful", "value": 1}, {"traceId": "t2", "name": "helpful", "value": 0}]}

_bundled_prices = functools.cache(read_prices)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder for one input; in memory where there is such a place, since a fuzzer writes thousands a second."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    folder = tempfile.mkdtemp(dir=place)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refused(read: Callable[[Path], object], data: bytes, name: str) -> None:
    """Read the bytes as a file: a value, or an `InputError` that names the file; and nothing is left beside it."""
    with _folder() as folder:
        path = folder / name
        path.write_bytes(data)
        refused = _why_not(read, path)
        if isinstance(refused, ValidationError):
            assert all(problem.path is not None for problem in refused.problems), f"a problem without its file: {refused}"
        assert refused is None or name in str(refused), f"the message does not name the file: {refused}"
        assert [each.name for each in folder.iterdir()] == [name], "something was left beside the file"


def _why_not(read: Callable[[Path], object], path: Path) -> InputError | None:
    try:
        read(path)
    except InputError as error:
        return error
    return None


def experiment(data: bytes) -> None:
    with contextlib.suppress(UnicodeDecodeError, ValidationError):
        parse_experiment(data.decode(), "experiment.yaml")


def policy(data: bytes) -> None:
    _refused(load_policy, data, "policy.yaml")


def preparation(data: bytes) -> None:
    _refused(load_preparation, data, "prepare.yaml")


def terms(data: bytes) -> None:
    _refused(read_terms, data, "terms.yaml")
    _refused(read_similarities, data, "similarities.csv")


def prices(data: bytes) -> None:
    _refused(read_prices, data, "prices.yaml")


def pairs(data: bytes) -> None:
    _refused(read_pairs, data, "pairs.jsonl")


def query_log(data: bytes) -> None:
    _refused(read_query_log, data, "queries.jsonl")


def labels(data: bytes) -> None:
    _refused(lambda path: read_labels(path, Findings()), data, "labels.csv")


def trec(data: bytes) -> None:
    _refused(read_qrels, data, "qrels.txt")
    _refused(read_run, data, "arm.run")


def beir(data: bytes) -> None:
    """The bytes as each of the three files in turn, beside two that are sound."""
    sound = {
        "corpus.jsonl": _CORPUS.encode(),
        "queries.jsonl": _QUERIES.encode(),
        "qrels/test.tsv": b"query-id\tcorpus-id\tscore\nq1\td1\t1\n",
    }
    for name in sound:
        with _folder() as folder:
            (folder / "qrels").mkdir()
            for each, content in {**sound, name: data}.items():
                (folder / each).write_bytes(content)
            check_beir(folder, "test")


def table(data: bytes) -> None:
    """A table as RAGAS has it, in each of the forms that it comes in."""
    for suffix in ("csv", "jsonl", "parquet"):
        with _folder() as folder:
            (folder / "corpus.jsonl").write_text(_CORPUS, "utf-8")
            path = folder / f"table.{suffix}"
            path.write_bytes(data)
            with contextlib.suppress(InputError):
                read_table(path, folder / "corpus.jsonl", Findings())


def _imported(kind: Kind, data: bytes, *, suffixes: tuple[str, ...], runs: bytes | None = None) -> None:
    """The bytes as an export of another program, alone and beside a corpus: written and told in UTF-8, or refused and nothing left."""
    for suffix, with_corpus in ((suffix, with_corpus) for suffix in suffixes for with_corpus in (False, True)):
        with _folder() as folder:
            path, given, documents = folder / f"export.{suffix}", folder / "runs.json", folder / "corpus.jsonl"
            path.write_bytes(data)
            documents.write_text(_CORPUS, "utf-8")
            if runs is not None:
                given.write_bytes(runs)
            before = sorted(folder.iterdir())
            try:
                made = import_file(
                    kind,
                    path,
                    folder / "made",
                    corpus=documents if with_corpus else None,
                    runs=None if runs is None else given,
                    retrieved_answer=not with_corpus,
                )
            except InputError as error:
                str(error).encode()
                assert sorted(folder.iterdir()) == before, "something was left"
                continue
            "\n".join(lines_of(made)).encode()
            json.dumps(made.as_dict(), ensure_ascii=False).encode()
            json.loads((made.folder / "import.json").read_text("utf-8"))
            if made.scores is not None:
                read_scores(made.folder / "scores.jsonl")
            if made.n_queries:
                check_beir(made.folder, "test")


def phoenix(data: bytes) -> None:
    _imported("phoenix", data, suffixes=("json", "jsonl", "csv"))


def langfuse(data: bytes) -> None:
    _imported("langfuse", data, suffixes=("json", "jsonl", "csv"))


def ragas(data: bytes) -> None:
    _imported("ragas", data, suffixes=("json", "jsonl", "csv", "parquet"))


def promptfoo(data: bytes) -> None:
    _imported("promptfoo", data, suffixes=("json", "yaml", "csv"))


def langfuse_scores(data: bytes) -> None:
    _imported("langfuse-scores", data, suffixes=("json", "csv"), runs=json.dumps(_TRACES).encode())
    _imported("langfuse-scores", json.dumps(_SCORES).encode(), suffixes=("json",), runs=data)


def _prepared(data: bytes, kind: str, suffix: str) -> None:
    file = SourceFile(path=Path(f"raw{suffix}"), place=f"raw{suffix}", kind=kind, size=len(data))
    for found in load(file, data, TicketFields()):
        assert found.place.startswith("raw")


def html(data: bytes) -> None:
    _prepared(data, "html", ".html")


def markdown(data: bytes) -> None:
    _prepared(data, "markdown", ".md")


def mail(data: bytes) -> None:
    _prepared(data, "mail", ".eml")


def pdf(data: bytes) -> None:
    _prepared(data, "pdf", ".pdf")


def word(data: bytes) -> None:
    _prepared(data, "word", ".docx")


def tickets(data: bytes) -> None:
    for kind in ("csv", "json", "jsonl"):
        _prepared(data, kind, f".{kind}")


def completion(data: bytes) -> None:
    """The body of an answer of an OpenAI-compatible server: a completion, or the failure of one call."""
    endpoint = Endpoint(base_url="http://127.0.0.1:9/v1", model="m", api_key="k")
    request = ChatRequest(endpoint=endpoint, system="s", user="u", prompt="p/1", sampling=Sampling(max_tokens=10))
    client = ChatClient.__new__(ChatClient)  # no connection: what is looked at is the reading of a body that has come
    client._endpoint, client._prices, client._key = endpoint, _bundled_prices(), "k"
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return
    with contextlib.suppress(AttemptError):
        client._completion(request, answer, 1.0).text.encode()


def verdict(data: bytes) -> None:
    """What a judge wrote."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        read_verdict(text, ("yes", "no"))[0].encode()
    with contextlib.suppress(ValueError):
        read_grade(text)
    json_object(text)
    retry_after({"retry-after": text, "retry-after-ms": text})


def bodies(data: bytes) -> None:
    """The bodies that the HTTP service takes."""
    for shape in (AskIn, FeedbackIn, EventIn, TrafficIn, CompareIn, PreferenceIn, ChatIn):
        with contextlib.suppress(pydantic.ValidationError):
            shape.model_validate_json(data).model_dump_json()


def units(data: bytes) -> None:
    """Any text has a bucket and a pseudonym, whatever JSON brought."""
    with contextlib.suppress(ValueError, RecursionError):
        text = json.loads(data)
        if isinstance(text, str):
            assert 0 <= bucket_of("salt", text) < 10_000
            assert len(pseudonym(text)) == 32


def registry(data: bytes) -> None:
    """The files of a registry, of which any may have come from elsewhere: lineage, records, intent, and the record of an export."""
    with _folder() as folder:
        home = folder / "model"
        (home / "v1").mkdir(parents=True)
        (home / "v1" / LINEAGE).write_bytes(data)
        with contextlib.suppress(RagtrialError):
            Registry(folder).get("model@v1", verify=True)
        for name, read in ((RECORDS, read_records), (INTENT, read_intent)):
            (home / name).write_bytes(data)
            with contextlib.suppress(ModelError):
                read(home)
        (home / "export.json").write_bytes(data)
        with contextlib.suppress(ModelError):
            verify(home)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        experiment,
        policy,
        preparation,
        terms,
        prices,
        pairs,
        query_log,
        labels,
        trec,
        beir,
        table,
        phoenix,
        langfuse,
        langfuse_scores,
        ragas,
        promptfoo,
        html,
        markdown,
        mail,
        pdf,
        word,
        tickets,
        completion,
        verdict,
        bodies,
        units,
        registry,
    )
}
"""Every parser by name; the folder of its corpus has the same name."""
