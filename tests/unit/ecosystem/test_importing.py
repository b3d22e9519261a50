"""Data sets and scores of other programs, in the shapes that they write."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import ragtrial_command
from material import write_experiment
from ragtrial.errors import InputError, ValidationError
from ragtrial.formats.beir import load_beir
from ragtrial.suite.importing import Imported, import_file

EVIL = '=HYPERLINK("http://evil.example","x")<script>alert(1)</script>'


def imported(kind: Any, tmp_path: Path, name: str, text: str, **more: Any) -> Imported:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return import_file(kind, tmp_path / name, tmp_path / "gold", **more)


def gold_of(tmp_path: Path) -> tuple[dict[str, str], dict[str, dict[str, int]], dict[str, tuple[str, ...]]]:
    """Documents by id, judgments, answers."""
    data = load_beir(tmp_path / "gold")
    documents = {document.document_id: document.text for document in data.documents}
    return documents, data.gold.qrels(), {query.query_id: query.answers for query in data.gold.queries}


def as_csv(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


# ragas 0.4: SingleTurnSample's fields, as EvaluationDataset.to_jsonl writes them (ragas/dataset_schema.py)
RAGAS = [
    {
        "user_input": "When does demurrage begin?",
        "retrieved_contexts": ["Cranes work on the shore.", "Demurrage begins on the sixth day."],
        "reference_contexts": ["Demurrage begins on the sixth day."],
        "response": "On day six.",
        "reference": "On the sixth day.",
    },
    {"user_input": EVIL, "reference_contexts": ["A reefer has a plug."], "reference": EVIL},
    {"user_input": "Nothing is known of this", "reference": "An answer"},
    {"user_input": [{"type": "human", "content": "a"}, {"type": "ai", "content": "b"}, {"type": "human", "content": "c"}]},
]


def test_ragas_samples_become_a_gold_set_and_what_nobody_judged_is_no_judgment(tmp_path: Path) -> None:
    made = imported("ragas", tmp_path, "samples.jsonl", "".join(json.dumps(row) + "\n" for row in RAGAS))
    documents, qrels, answers = gold_of(tmp_path)
    assert sorted(documents.values()) == ["A reefer has a plug.", "Cranes work on the shore.", "Demurrage begins on the sixth day."]
    assert [[documents[name] for name in grades] for grades in qrels.values()] == [
        ["Demurrage begins on the sixth day."],
        ["A reefer has a plug."],
    ]
    assert answers == {"row-1": ("On the sixth day.",), "row-2": (EVIL,)}
    assert (made.n_rows, made.n_queries, made.n_unjudged, made.answered) == (4, 2, 1, 1)
    assert {reason.partition(":")[0]: first for reason, (_, first) in made.left_out.items()} == {
        "several turns": "samples.jsonl:4",
        "names nothing that answers it (no reference contexts or ids)": "samples.jsonl:3",
    }
    kept = json.loads((tmp_path / "gold" / "answered.jsonl").read_text())
    assert kept == {"id": "row-3", "user_input": "Nothing is known of this", "reference": "An answer"}
    origin = json.loads((tmp_path / "gold" / "import.json").read_text())
    assert (origin["file"], origin["kind"], origin["n_rows"]) == ("samples.jsonl", "ragas", 4)
    assert any("easier" in note for note in made.notes)


# ragas before 0.2: the columns of its Hugging Face data sets (explodinggradients/amnesty_qa)
OLD = [{"question": "q one", "ground_truth": "a one", "answer": "said", "contexts": ["c one", "c two"]}]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_older_column_names_are_read_and_retrieved_contexts_are_judged_only_where_asked(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"old.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(OLD), path)
    else:
        path.write_text(as_csv([{**OLD[0], "contexts": str(OLD[0]["contexts"])}]))  # as pandas writes a list
    made = import_file("ragas", path, tmp_path / "without")
    assert (made.n_queries, made.answered) == (0, 1)
    made = import_file("ragas", path, tmp_path / "gold", retrieved_answer=True)
    documents, qrels, answers = gold_of(tmp_path)
    assert sorted(documents[name] for name in qrels["row-1"]) == ["c one", "c two"]
    assert answers == {"row-1": ("a one",)}
    assert any("let people judge" in note for note in made.notes)


def test_ids_need_the_corpus_that_they_are_of_and_contexts_are_found_in_it(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "d1", "text": "One. Two  words. Three."}\n{"_id": "d2", "text": "Four."}\n')
    rows = [
        {"id": "a", "user_input": "x", "reference_context_ids": ["d2"]},
        {"id": "b", "user_input": "y", "reference_contexts": ["Two words."]},
    ]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match="no corpus that they are of"):
        import_file("ragas", tmp_path / "r.json", tmp_path / "none", fields=_only_ids(rows, tmp_path))
    made = import_file("ragas", tmp_path / "r.json", tmp_path / "gold", corpus=corpus)
    judged = {(one.query_id, one.target_id, one.start, one.end) for one in load_beir(tmp_path / "gold").gold.judgments}
    assert judged == {("a", "d2", None, None), ("b", "d1", 5, 16)}
    assert made.n_passages == 2


def _only_ids(rows: list[dict[str, Any]], tmp_path: Path) -> Any:
    from ragtrial.formats.foreign_sets import Fields

    (tmp_path / "r.json").write_text(json.dumps(rows))
    return Fields(contexts="nowhere")


# Phoenix: GET /v1/datasets/{id}/examples and its CSV (src/phoenix/server/api/routers/v1/datasets.py: _get_content_csv)
PHOENIX = {
    "data": {
        "dataset_id": "RGF0YXNldDox",
        "version_id": "RGF0YXNldFZlcnNpb246MQ==",
        "examples": [
            {
                "id": "RGF0YXNldEV4YW1wbGU6MQ==",
                "input": {"question": "What is Paul Graham known for?"},
                "output": {"answer": "Co-founding Y Combinator."},
                "metadata": {"topic": "tech", "reference_contexts": ["Graham co-founded Y Combinator."]},
                "updated_at": "2024-06-01T00:00:00+00:00",
            },
            {"id": "2", "input": {"messages": [{"role": "user", "content": "Hi?"}]}, "output": {"messages": []}, "metadata": {}},
        ],
    }
}


def test_phoenix_examples_are_read_as_its_api_and_its_csv_write_them(tmp_path: Path) -> None:
    made = imported("phoenix", tmp_path, "examples.json", json.dumps(PHOENIX))
    data = load_beir(tmp_path / "gold")
    assert [(query.query_id, query.text, query.answers, query.tags) for query in data.gold.queries] == [
        ("RGF0YXNldEV4YW1wbGU6MQ==", "What is Paul Graham known for?", ("Co-founding Y Combinator.",), {"topic": "tech"})
    ]
    assert made.left_out == {"names nothing that answers it (no reference contexts or ids)": (1, "examples.json, row 2")}
    row = {
        "example_id": "e1",
        "input_question": "q?",
        "output_answer": "a.",
        "metadata_reference_contexts": '["c1", "c2"]',
        "metadata_topic": "t",
    }
    (tmp_path / "p.csv").write_text(as_csv([row]))
    made = import_file("phoenix", tmp_path / "p.csv", tmp_path / "two")
    assert (made.n_queries, made.n_judgments) == (1, 2)
    assert load_beir(tmp_path / "two").gold.queries[0].answers == ("a.",)


# Langfuse: GET /api/public/dataset-items (OpenAPI schema DatasetItem)
LANGFUSE = {
    "data": [
        {
            "id": "item-1",
            "status": "ACTIVE",
            "input": {"question": "Where is the gate?", "locale": "en"},
            "expectedOutput": {"answer": "At the north end."},
            "metadata": {"team": "yard", "expected_contexts": ["The gate is at the north end."]},
            "sourceTraceId": None,
            "datasetId": "d",
            "datasetName": "yard",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "updatedAt": "2026-01-01T00:00:00.000Z",
        },
        {"id": "item-2", "status": "ARCHIVED", "input": "old", "expectedOutput": "x", "metadata": None},
        {"id": "item-3", "status": "ACTIVE", "input": {"locale": "en"}, "expectedOutput": None, "metadata": None},
        {"id": "item-4", "status": "ACTIVE", "input": "plain?", "expectedOutput": "plain.", "metadata": {}},
    ],
    "meta": {"page": 1, "limit": 50, "totalItems": 4, "totalPages": 1},
}


def test_langfuse_items_are_read_and_what_is_archived_or_no_question_is_counted(tmp_path: Path) -> None:
    made = imported("langfuse", tmp_path, "items.json", json.dumps(LANGFUSE))
    (query,) = load_beir(tmp_path / "gold").gold.queries
    assert (query.query_id, query.text, query.answers, dict(query.tags)) == (
        "item-1",
        "Where is the gate?",
        ("At the north end.",),
        {"team": "yard"},
    )
    assert {reason.partition(" (")[0]: n for reason, (n, _) in made.left_out.items()} == {
        "archived": 1,
        "no question found": 1,
        "names nothing that answers it": 1,
    }
    rows = [
        {"id": "i", "input": '{"question": "q"}', "expectedOutput": '"a"', "metadata": '{"reference_contexts": ["c"]}', "status": "ACTIVE"}
    ]
    (tmp_path / "i.csv").write_text(as_csv(rows))
    import_file("langfuse", tmp_path / "i.csv", tmp_path / "two")
    assert load_beir(tmp_path / "two").gold.queries[0].answers == ("a",)


def result(test: int, provider: str, score: float, **more: Any) -> dict[str, Any]:
    """One of promptfoo's EvaluateResult (src/types/index.ts)."""
    variables = {"question": f"question {test}", "context": "retrieved", "reference_contexts": [f"passage {test}"]}
    return {
        "id": f"{test}-{provider}",
        "promptIdx": 0,
        "testIdx": test,
        "testCase": {"vars": variables, "assert": [{"type": "factuality", "value": f"answer {test}"}]},
        "promptId": "p",
        "provider": {"id": provider, "label": ""},
        "prompt": {"raw": "Answer: {{question}}", "label": "Answer: {{question}}"},
        "vars": variables,
        "response": {"output": "an answer", "tokenUsage": {"total": 3}},
        "error": None,
        "failureReason": 0,
        "success": score >= 0.5,
        "score": score,
        "latencyMs": 100 + test,
        "gradingResult": {"pass": score >= 0.5, "score": score, "reason": "graded"},
        "namedScores": {"faithful": score},
        "cost": 0.001,
        **more,
    }


def report(n: int, *, lost: int = 0) -> dict[str, Any]:
    """A summary of version 3 over two providers, the second one better by 0.3; `lost` of its tests are not there, and one is an error."""
    results = [result(test, "openai:gpt-a", 0.3 + 0.1 * (test % 3)) for test in range(n)]
    results += [result(test, "openai:gpt-b", 0.6 + 0.1 * (test % 4)) for test in range(lost, n)]
    results[-1] |= {
        "failureReason": 2,
        "error": "429",
        "response": None,
        "score": 0,
        "success": False,
        "gradingResult": None,
        "namedScores": {},
    }
    stats = {"successes": n, "failures": n - 1, "errors": 1, "tokenUsage": {}}
    return {
        "evalId": "eval-1",
        "results": {"version": 3, "timestamp": "2026-01-01", "prompts": [], "results": results, "stats": stats},
        "config": {},
    }


def test_promptfoo_results_of_two_providers_go_under_our_statistics(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(report(120)))
    done = ragtrial_command("import", "promptfoo", tmp_path / "results.json", "-o", tmp_path / "gold")
    assert done.code == 0, done.err
    assert "120 queries with 120 judgments on 121 passages (1 of them unjudged)" in done.out
    assert "errors: 1 of 120 questions of openai:gpt-b ended in an error" in done.out
    assert load_beir(tmp_path / "gold").gold.queries[5].answers == ("answer 5",)
    scores = tmp_path / "gold" / "scores.jsonl"
    compared = ragtrial_command(
        "compare", "--scores", scores, "--baseline", "openai:gpt-a", "--custom", "openai:gpt-b", "-m", "score", "-m", "faithful"
    )
    assert compared.code == 0, compared.out + compared.err
    # 119 questions have a score of both: their means are those of the numbers in `report`
    a, b = [0.3 + 0.1 * (test % 3) for test in range(119)], [0.6 + 0.1 * (test % 4) for test in range(119)]
    assert f"{sum(a) / 119:.4f} -> {sum(b) / 119:.4f}" in compared.out
    assert "n 119 of 120" in compared.out
    assert "custom: error (1)" in compared.out
    assert compared.out.strip().splitlines()[-1].startswith("Adopt custom")


def test_a_report_that_misses_tests_says_how_many_and_gets_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(report(120, lost=30)))
    done = ragtrial_command("import", "promptfoo", tmp_path / "results.json", "-o", tmp_path / "gold", "--json")
    found = json.loads(done.out)["scores"]
    assert found["missing"] == {"openai:gpt-b": 30}
    assert found["notes"] == ["its statistics count 240 results, and it holds 210"]
    compared = ragtrial_command(
        "compare", "--scores", tmp_path / "gold" / "scores.jsonl", "--baseline", "openai:gpt-a", "--custom", "openai:gpt-b"
    )
    assert compared.code == 1
    assert "custom: not in the report (30)" in compared.out
    assert "No verdict" in compared.out


def test_promptfoos_test_files_are_read_as_yaml_and_as_csv(tmp_path: Path) -> None:
    case = {"description": "x", "vars": {"question": "q", "reference_contexts": ["c"]}, "assert": [{"type": "equals", "value": "a"}]}
    imported("promptfoo", tmp_path, "tests.yaml", yaml.safe_dump({"tests": [case]}))
    assert gold_of(tmp_path)[2] == {"row-1": ("a",)}
    (tmp_path / "t.csv").write_text(as_csv([{"question": "q", "reference_contexts": '["c"]', "__expected": "similar(0.8): near a"}]))
    import_file("promptfoo", tmp_path / "t.csv", tmp_path / "two")
    assert load_beir(tmp_path / "two").gold.queries[0].answers == ("near a",)


# Langfuse: GET /api/public/v2/scores and /api/public/dataset-run-items (OpenAPI schemas Score and DatasetRunItem)
def test_langfuse_scores_of_two_runs_are_joined_by_their_traces(tmp_path: Path) -> None:
    runs = [
        {"id": f"r{n}{run}", "datasetRunName": run, "datasetItemId": f"i{n}", "traceId": f"t{n}{run}"} for run in "ab" for n in range(4)
    ]
    scores: list[dict[str, Any]] = [
        {
            "id": f"s{n}{run}",
            "traceId": f"t{n}{run}",
            "name": "correct",
            "value": n / 4 + (run == "b") / 8,
            "dataType": "NUMERIC",
            "source": "API",
        }
        for run in "ab"
        for n in range(3)
    ]
    scores += [
        {"id": "s", "traceId": "elsewhere", "name": "correct", "value": 1},
        {"id": "c", "traceId": "t3a", "name": "tone", "stringValue": "kind"},
    ]
    (tmp_path / "runs.json").write_text(json.dumps({"data": runs}))
    made = imported("langfuse-scores", tmp_path, "s.json", json.dumps({"data": scores}), runs=tmp_path / "runs.json")
    assert made.scores is not None
    assert made.scores.notes == ("1 scores are of traces that belong to no dataset run",)
    rows = [json.loads(line) for line in (tmp_path / "gold" / "scores.jsonl").read_text().splitlines()]
    assert {"query_id": "i2", "system": "b", "metric": "correct", "value": 0.625} in rows
    assert {"query_id": "i3", "system": "a", "metric": "correct", "unscored": "no score"} in rows
    assert {"query_id": "i3", "system": "a", "metric": "tone", "unscored": "no number"} in rows


@pytest.mark.parametrize(
    ("kind", "name", "text", "said"),
    [
        ("ragas", "x.jsonl", '{"user_input": "a"}\n{broken\n', "x.jsonl:2: broken JSON"),
        ("ragas", "x.csv", 'user_input,reference\n"a,b\n', "x.csv:2: broken CSV"),
        ("ragas", "x.csv", "user_input,reference\na\n", "x.csv:2: has 1 columns"),
        ("ragas", "x.txt", "a", "has the ending '.txt'"),
        ("ragas", "x.jsonl", '{"user_input": "a"}\n', "holds nothing that can be used"),
        ("ragas", "x.jsonl", '{"user_input": "a\\u0000", "reference_contexts": ["c"]}\n', "NUL"),
        ("phoenix", "x.json", '{"data": {"examples": [{"input": 7}]}}', "[0].input: is the number 7"),
        ("phoenix", "x.json", '{"data": 1}', "expected a list"),
        ("langfuse", "x.json", '{"data": [1]}', "[0]: is the number 1"),
        ("langfuse", "x.json", "{\n\n!", "x.json:3: broken JSON"),
        ("promptfoo", "x.json", '{"results": {"results": [7]}}', "results.results: holds what are no objects"),
        ("promptfoo", "x.json", '{"results": {"results": [{"score": "high", "vars": {"q": "x"}}]}}', "results.results[0].score: is 'high'"),
        (
            "promptfoo",
            "x.json",
            '{"results": {"results": [{"score": 1' + "0" * 400 + ', "vars": {"q": "x"}}]}}',
            "results.results[0].score",
        ),
        ("promptfoo", "x.json", '[{"vars": 3}]', "[0].vars: is the number 3"),
        ("promptfoo", "x.yaml", "tests: [\n", "x.yaml"),
        ("phoenix", "x.parquet", "no parquet", "no readable Parquet file"),
    ],
)
def test_a_faulty_file_is_refused_with_its_place_and_nothing_is_left_behind(
    tmp_path: Path, kind: str, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    done = ragtrial_command("import", kind, tmp_path / name, "-o", tmp_path / "gold")
    assert done.code == 2
    assert said in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


NAMES = st.sampled_from(
    [
        "id",
        "data",
        "examples",
        "input",
        "output",
        "metadata",
        "expectedOutput",
        "status",
        "question",
        "reference",
        "contexts",
        "reference_contexts",
        "reference_context_ids",
        "user_input",
        "vars",
        "assert",
        "type",
        "value",
        "results",
        "config",
        "tests",
        "stats",
        "testIdx",
        "promptIdx",
        "provider",
        "label",
        "score",
        "success",
        "namedScores",
        "error",
        "failureReason",
        "latencyMs",
        "gradingResult",
        "messages",
        "role",
        "content",
        "traceId",
        "name",
        "datasetRunName",
        "datasetItemId",
        "__expected",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=6) | NAMES
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12)


@pytest.mark.parametrize("kind", ["phoenix", "langfuse", "langfuse-scores", "ragas", "promptfoo"])
def test_whatever_json_a_file_holds_is_imported_or_refused_in_our_own_words(tmp_path_factory: pytest.TempPathFactory, kind: Any) -> None:
    folder = tmp_path_factory.mktemp(kind)

    @settings(max_examples=60, deadline=None, database=None)
    @given(VALUES | st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=3))
    def check(value: object) -> None:
        whole = {"results": {"results": value}} if kind == "promptfoo" and isinstance(value, list) else value
        (folder / "x.json").write_text(json.dumps(whole))
        shutil.rmtree(folder / "gold", ignore_errors=True)
        try:
            import_file(kind, folder / "x.json", folder / "gold", runs=folder / "x.json")
        except InputError:
            assert not (folder / "gold").exists()
        else:
            assert (folder / "gold" / "import.json").exists()
            if (folder / "gold" / "qrels").exists():
                load_beir(folder / "gold")

    check()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "gold").mkdir()
    (tmp_path / "gold" / "mine").write_text("x")
    with pytest.raises(InputError, match="is there already"):
        imported("ragas", tmp_path, "x.jsonl", json.dumps(RAGAS[0]))
    assert (tmp_path / "gold" / "mine").read_text() == "x"


def test_what_was_imported_is_evaluated_as_it_is(tmp_path: Path) -> None:
    rows = [
        {"user_input": f"question about word{n}", "reference_contexts": [f"The word{n} is described here."], "reference": f"w{n}"}
        for n in range(6)
    ]
    imported("ragas", tmp_path, "r.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    experiment = write_experiment(
        tmp_path / "e.yaml", tmp_path / "gold", metrics={"primary": {"name": "nDCG@5", "min_effect": 0.01}}, analysis={"latency_queries": 0}
    )
    done = ragtrial_command("validate", experiment)
    assert done.code == 0, done.out
    planned = ragtrial_command("evaluate", experiment, "--dry-run", "--json")
    assert json.loads(planned.out)["n_queries"] == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--baseline", "a", "--custom", "c"], "--custom 'c' is not in the table: there are 'a', 'b'"),
        (["--baseline", "a", "--custom", "a"], "give two systems"),
        (["--baseline", "a", "--custom", "b", "-m", "x"], "--metric 'x' is not in the table"),
        (["--baseline", "a", "--custom", "b", "--min-effect", "0"], "above 0"),
    ],
)
def test_scores_are_compared_only_between_systems_that_are_there(tmp_path: Path, arguments: list[str], said: str) -> None:
    lines = [{"query_id": "q", "system": system, "metric": "score", "value": 1} for system in "ab"]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = ragtrial_command("compare", "--scores", tmp_path / "s.jsonl", *arguments)
    assert done.code == 2
    assert said in done.err


def test_a_table_of_scores_with_neither_value_nor_reason_is_refused_by_line(tmp_path: Path) -> None:
    from ragtrial.formats.foreign_scores import read_scores

    (tmp_path / "s.jsonl").write_text('{"query_id": "q", "system": "a", "metric": "m"}\n{"query_id": 7}\n')
    with pytest.raises(ValidationError, match=r"s.jsonl:1: value.*\n?.*s.jsonl:2: query_id"):
        read_scores(tmp_path / "s.jsonl")


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("phoenix", "a.jsonl", r'{"input": {"question": "When \ud83d"}, "output": {"answer": "x"}}'),
        ("langfuse", "a.json", r'{"data": [{"id": "1", "input": "When?", "expectedOutput": "x", "metadata": {"\ud83d": "x"}}]}'),
        ("ragas", "a.csv", 'user_input,reference,reference_contexts\nWhen?,x,"[""\\ud83d""]"\n'),
        ("promptfoo", "a.json", r'{"results": {"results": [{"provider": "\ud83d", "score": 1}]}}'),
        ("langfuse-scores", "a.json", r'{"data": [{"traceId": "t", "name": "\ud83d", "value": 1}]}'),
    ],
)
def test_half_a_surrogate_pair_anywhere_is_refused_with_its_place(kind: str, name: str, text: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs.json"
    runs.write_text('[{"traceId": "t", "datasetRunName": "a", "datasetItemId": "i"}]', encoding="utf-8")
    (tmp_path / name).write_text(text, encoding="utf-8")
    more = ["--runs", runs] if kind == "langfuse-scores" else []
    done = ragtrial_command("import", kind, tmp_path / name, "-o", tmp_path / "gold", *more)
    assert done.code == 2
    assert f"{tmp_path / name}" in done.err
    assert "holds half a surrogate pair" in done.err
    assert not (tmp_path / "gold").exists()
