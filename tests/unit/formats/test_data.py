import pytest

from ragtrial.domain.data import DataSpec
from ragtrial.errors import ValidationError
from ragtrial.formats.data import check_data, load_data


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set" / "qrels").mkdir(parents=True)
    (tmp_path / "set" / "corpus.jsonl").write_text('{"_id": "d1", "text": "First."}\n{"_id": "d2", "text": "Second."}\n')
    (tmp_path / "set" / "queries.jsonl").write_text('{"_id": "q1", "text": "which"}\n')
    (tmp_path / "set" / "qrels" / "test.tsv").write_text("q1\td1\t1\n")
    (tmp_path / "set" / "gold.qrels").write_text("q1 0 d1 1\n")
    (tmp_path / "set" / "gold.csv").write_text("id,user_input,reference_context_ids\nq1,which,d1\n")
    return tmp_path


SPECS = [
    DataSpec(format="beir", path="set", split="test"),
    DataSpec(format="trec", path="set/gold.qrels", corpus="set/corpus.jsonl", queries="set/queries.jsonl"),
    DataSpec(format="table", path="set/gold.csv", corpus="set/corpus.jsonl"),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.format)
def test_every_format_gives_the_same_data(folder, spec):
    data = load_data(spec, folder)
    assert [document.document_id for document in data.documents] == ["d1", "d2"]
    assert data.gold.qrels() == {"q1": {"d1": 1}}
    assert data.gold.queries[0].text == "which"
    assert check_data(spec, folder).problems == ()
    assert check_data(spec, folder).counts == {"documents": 2, "queries": 1, "gold queries": 1, "judgments": 1}


@pytest.mark.parametrize(("format_", "fields"), [("trec", ["data.corpus", "data.queries"]), ("table", ["data.corpus"])])
def test_files_that_the_format_needs_are_asked_for(folder, format_, fields):
    spec = DataSpec(format=format_, path="set/gold.x")
    assert [problem.field for problem in check_data(spec, folder).problems] == fields
    with pytest.raises(ValidationError, match=f"data.corpus: is missing: format {format_} needs a corpus.jsonl beside 'set/gold.x'"):
        load_data(spec, folder)
