"""Sound inputs that fuzzers begin with: far inside of a parser a random byte is of use, at its door it is not.

python tests/fuzz/seeds.py    writes them into tests/fuzz/corpus, one file each (`seed-*`)
"""

import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent


def seeds() -> dict[str, list[bytes]]:
    """A few small inputs for each target."""
    sys.path.insert(0, str(HERE.parent))
    from raw_files import PAGE, docx_of, mail, pdf_of, ticket_rows

    demo, loop = (
        b"\n".join(
            line for line in (REPOSITORY / "experiments" / name).read_bytes().split(b"\n") if line and not line.lstrip().startswith(b"#")
        )
        for name in ("live-demo.yaml", "loop.yaml")
    )
    table = io.BytesIO()
    pq.write_table(pa.table({"user_input": ["When?"], "reference_context_ids": [["d1"]]}), table)
    answer = {"id": "1", "model": "m", "choices": [{"message": {"content": "Yes.", "refusal": None}, "finish_reason": "stop"}]}
    records = {"form": 1, "aliases": {"production": "v1"}, "archived": {}, "promotions": [], "history": [], "notes": [], "deleted": {}}
    documents = b'{"_id": "d1", "title": "Gate", "text": "The gate opens at six.", "tags": {"topic": "gate"}}\n'
    return {
        "experiment": [demo],
        "policy": [loop],
        "preparation": [b"max_megabytes: 5\ntickets: {text: [body], title: [subject]}\nredact: true\n"],
        "terms": [b"near:\n  - [gate, portal]\nfar:\n  - {terms: [tug, tub], note: letters}\n", b"left,right,score\ngate,portal,0.9\n"],
        "prices": [b"as_of: 2026-01-01\nmodels:\n  - {match: m, prompt: 1.0, completion: 2.0}\n"],
        "pairs": [b'{"query": "When?", "positive": "At six.", "negatives": ["No."], "origin": "judgment", "split": "train"}\n'],
        "query_log": [b'{"text": "When?", "at": "2026-11-01T08:00:00Z", "user": "u1"}\n{"text": "Why?", "at": 1750000000.5}\n'],
        "labels": [b"item,question,label,labeller\ni1,When?,yes,ann\n", b"query_id;arm;label;repetition\nq1;custom;no;0\n"],
        "trec": [b"q1 0 d1 1\nq1 0 d2 0\n", b"q1 Q0 d1 1 0.9 arm\nq1 Q0 d2 2 0.8 arm\n"],
        "beir": [documents, b'{"_id": "q1", "text": "When?"}\n', b"query-id\tcorpus-id\tscore\nq1\td1\t1\n", b"q1\td1\t0\t8\t2\n"],
        "table": [
            b'user_input,reference_context_ids\nWhen?,"[""d1""]"\n',
            b'{"user_input": "When?", "reference_contexts": ["The gate"]}\n',
            table.getvalue(),
        ],
        **_foreign(),
        "html": [PAGE.encode()],
        "markdown": [b"---\ntitle: Gate\ndate: 2023-01-02\n---\n\n# Gate\n\nThe [gate](x) opens.\n"],
        "mail": [mail()],
        "pdf": [pdf_of("Tide tables of the port", "High water is at six")],
        "word": [docx_of(("Heading1", "Rules"), ("", "Wagons are shunted."), footnote="at night")],
        "tickets": [
            ticket_rows()[:400].encode(),
            b'{"issues": [{"key": "A-1", "fields": {"summary": "Crane", "description": "<p>It stops</p>"}}]}',
        ],
        "completion": [json.dumps({**answer, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}).encode()],
        "verdict": [
            b'{"rationale": "It says so.", "verdict": "yes"}',
            b'<think>no</think>```json\n{"rationale": "r", "grade": 2}\n```',
            b"1m30s",
        ],
        "bodies": [
            b'{"query": "When?", "unit": "u1", "metadata": {"user_id": "u"}}',
            b'{"trial_id": "t", "thumb": "up", "tags": ["wrong source"]}',
            b'{"model": "ragtrial", "messages": [{"role": "user", "content": [{"type": "text", "text": "When?"}]}], "stream": true}',
        ],
        "units": [b'"user-1729"', b'"\\ud83d"'],
        "registry": [
            json.dumps(records).encode(),
            b'{"name": "model", "version": "v1", "checksum": "0", "files": {}}',
            b'{"sha256": {"model.onnx": "0"}}',
        ],
    }


def _foreign() -> dict[str, list[bytes]]:
    """Exports as other programs write them."""
    ask, know = {"question": "When does the gate open?"}, {"answer": "At six."}
    said = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "At six."}]
    context = "The gate opens at six."
    result = {"testIdx": 0, "promptIdx": 0, "provider": "a", "score": 1, "success": True, "namedScores": {"exact": 0.5}, "latencyMs": 9}
    case = {"vars": {"question": "When?", "context": context}, "assert": [{"type": "equals", "value": "At six."}]}
    results = [{**result, "vars": case["vars"], "testCase": case}, {**result, "provider": {"id": "b"}, "error": "hung up"}]
    trace = {"traceId": "t1", "datasetRunName": "a", "datasetItemId": "i1"}

    def plain(value: object) -> bytes:
        return json.dumps(value).encode()

    return {
        "phoenix": [
            plain({"data": {"examples": [{"id": "1", "input": ask, "output": know, "metadata": {"reference_contexts": [context]}}]}}),
            b"example_id,input_question,output_answer,metadata_topic\n1,When?,At six.,gate\n",
            plain({"messages": said[:1], "ideal": "At six.", "id": "1"}),
        ],
        "langfuse": [
            plain(
                {
                    "data": [
                        {"id": "i1", "status": "ACTIVE", "input": {"messages": said}, "expectedOutput": know, "metadata": {"topic": "gate"}}
                    ]
                }
            ),
            b'id,input,expected_output,metadata\n1,"{""question"": ""When?""}",At six.,"{""contexts"": [""The gate""]}"\n',
        ],
        "langfuse_scores": [
            plain({"data": [{"traceId": "t1", "name": "helpful", "value": 1}, {"traceId": "t9", "name": "helpful", "value": "0.5"}]}),
            plain({"data": [trace, {**trace, "traceId": "t2", "datasetRunName": "b"}]}),
            b"traceId,name,value\nt1,helpful,1\n",
        ],
        "ragas": [
            plain({"user_input": "When?", "reference": "At six.", "reference_contexts": [context], "reference_context_ids": ["d1"]}),
            b"question,ground_truths,contexts\nWhen?,\"['At six.']\",\"['The gate opens at six.']\"\n",
        ],
        "promptfoo": [
            plain({"results": {"version": 3, "results": results, "stats": {"successes": 1, "errors": 1}}, "config": {"tests": [case]}}),
            b"- vars: {question: When?}\n  assert:\n    - {type: similar, value: At six.}\n",
            b"question,__expected,context\nWhen?,equals: At six.,The gate\n",
        ],
    }


def main() -> None:
    """Write them."""
    for name, inputs in seeds().items():
        (HERE / "corpus" / name).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs, start=1):
            (HERE / "corpus" / name / f"seed-{number}").write_bytes(data)


if __name__ == "__main__":
    main()
