import itertools

import pytest

from ragtrial.chunking import chunker, cut, resolve
from ragtrial.domain.corpus import Corpus, Document, Passage
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.formats.beir import load_beir

TEXT = "# Gates\n\n## Lanes\n\nTrucks wait in lane 4. Lane 5 is closed.\n\n## Holds\n\nA hold stops a box. A stop holds a truck."
DOCUMENT = Document(document_id="gates", title="Gates", text=TEXT)
MARKDOWN = ChunkingSpec(strategy="markdown", max_chars=60)


def judged(*judgments: Judgment) -> GoldSet:
    ids = dict.fromkeys(judgment.query_id for judgment in judgments)
    return GoldSet(name="gold", queries=tuple(Query(query_id=query_id, text="x") for query_id in ids), judgments=judgments)


def span(text: str, grade: int = 1, query_id: str = "q") -> Judgment:
    start = TEXT.index(text)
    return Judgment(query_id=query_id, target_id="gates", grade=grade, start=start, end=start + len(text))


def test_without_chunking_a_document_is_a_passage_under_its_own_id():
    corpus = cut([DOCUMENT], ChunkingSpec(), "docs")
    (passage,) = corpus.passages
    assert (passage.passage_id, passage.document_id, passage.start, passage.end) == ("gates", "gates", 0, len(TEXT))
    assert passage.text == TEXT
    assert passage.title == "Gates"
    assert corpus.chunking == "none"


def test_markdown_is_cut_at_headings_and_ids_name_the_characters():
    corpus = cut([DOCUMENT], MARKDOWN, "docs")
    assert [(passage.passage_id, passage.text) for passage in corpus.passages] == [
        ("gates#0-59", "# Gates\n\n## Lanes\n\nTrucks wait in lane 4. Lane 5 is closed."),
        ("gates#61-112", "## Holds\n\nA hold stops a box. A stop holds a truck."),
    ]
    assert corpus.chunking == MARKDOWN.label


def test_offsets_count_characters_and_not_bytes():
    text = "é😀 naïve façade. " * 20
    for passage in chunker(ChunkingSpec(strategy="text", max_chars=40, overlap_chars=10)).split(Document(document_id="d", text=text)):
        assert text[passage.start : passage.end] == passage.text
        assert len(passage.text) <= 40


def test_overlapping_passages_share_characters():
    passages = chunker(ChunkingSpec(strategy="text", max_chars=30, overlap_chars=15)).split(
        Document(document_id="d", text="one two three " * 20)
    )
    assert any(second.start < first.end for first, second in itertools.pairwise(passages))


def test_a_judgment_of_a_document_holds_for_each_of_its_passages():
    corpus = cut([DOCUMENT], MARKDOWN, "docs")
    resolved = resolve(judged(Judgment(query_id="q", target_id="gates", grade=2)), [DOCUMENT], corpus)
    assert resolved.gold.qrels() == {"q": {passage.passage_id: 2 for passage in corpus.passages}}
    assert resolved.turnover.n_passages_judged == len(corpus.passages) > 1
    assert resolved.turnover.n_resolved == 1


def passages_of(resolved, documents_corpus) -> set[str]:
    (grades,) = resolved.gold.qrels().values()
    return {documents_corpus.by_id[passage_id].text for passage_id in grades}


def test_a_span_holds_for_the_passage_around_it_under_any_chunking():
    for size in (20, 40, 60, 100, 500):
        spec = ChunkingSpec(strategy="text", max_chars=size)
        corpus = cut([DOCUMENT], spec, "docs")
        resolved = resolve(judged(span("Trucks wait")), [DOCUMENT], corpus)
        assert any("Trucks wait" in text for text in passages_of(resolved, corpus))
        assert resolved.turnover.unresolved == ()


def test_a_span_holds_where_it_fills_half_of_a_passage_or_half_of_it_lies():
    document = Document(document_id="d", text="aaaaaaaaaa bbbbbbbbbb cccccccccc dddddddddd")
    corpus = cut([document], ChunkingSpec(strategy="text", max_chars=21), "docs")
    assert [passage.text for passage in corpus.passages] == ["aaaaaaaaaa bbbbbbbbbb", "cccccccccc dddddddddd"]
    first, second = (passage.passage_id for passage in corpus.passages)

    def grades(start: int, end: int) -> tuple[dict[str, int], tuple[float, ...]]:
        resolved = resolve(judged(Judgment(query_id="q", target_id="d", grade=1, start=start, end=end)), [document], corpus)
        return resolved.gold.qrels()["q"], tuple(share for _, share in resolved.turnover.partial)

    assert grades(0, 10) == ({first: 1}, ())
    assert grades(10, 33) == ({first: 1, second: 1}, ())  # " bbbbbbbbbb cccccccccc ": ten of twenty letters lie in each
    assert grades(0, 43) == ({first: 1, second: 1}, ())
    assert grades(0, 32) == ({first: 1, second: 1}, ())  # ten letters are a third of the span, but half of the second passage
    assert grades(11, 25) == ({first: 1}, (10 / 13,))  # "bbbbbbbbbb ccc": ten of thirteen letters lie in the first
    assert grades(21, 23) == ({second: 1}, ())


def test_the_best_overlapping_passages_are_judged_where_none_has_half():
    # a chunker that leaves text out: of the thirty letters of the span the first passage has 10 and the second 4
    document = Document(document_id="d", text="a" * 40 + "-" * 16 + "b" * 40)
    places = {"first": (0, 40), "second": (56, 96)}
    passages = tuple(
        Passage(passage_id=name, document_id="d", text=document.text[start:end], start=start, end=end)
        for name, (start, end) in places.items()
    )
    judgment = Judgment(query_id="q", target_id="d", grade=1, start=30, end=60)
    resolved = resolve(judged(judgment), [document], Corpus(name="docs", passages=passages))
    assert resolved.gold.qrels() == {"q": {"first": 1, "second": 1}}
    assert resolved.turnover.partial == ((judgment, 14 / 30),)
    assert resolved.turnover.summary() == "1 of 1 judgments resolved to 2 judged passages, 1 of them covered in part"
    nowhere = resolve(
        judged(Judgment(query_id="q", target_id="d", grade=1, start=42, end=50)), [document], Corpus(name="docs", passages=passages)
    )
    assert nowhere.turnover.unresolved[0][1] == "the span 42..50 of document 'd' lies in none of its passages"


def test_passages_are_added_until_they_hold_half_of_the_span():
    # 14 + 3 + 14 letters in passages of 30, 3 and 30: only the middle one is inside, and it is a tenth of the span
    document = Document(document_id="d", text="a" * 30 + " bbb " + "c" * 30)
    passages = tuple(
        Passage(passage_id=name, document_id="d", text=document.text[start:end], start=start, end=end)
        for name, start, end in (("a", 0, 30), ("b", 31, 34), ("c", 35, 65))
    )
    judgment = Judgment(query_id="q", target_id="d", grade=1, start=16, end=49)
    resolved = resolve(judged(judgment), [document], Corpus(name="docs", passages=passages))
    assert resolved.gold.qrels() == {"q": {"b": 1, "a": 1}}
    assert resolved.turnover.partial == ((judgment, 17 / 31),)


def test_the_highest_grade_holds_where_several_judgments_meet_and_a_zero_never_overrides():
    corpus = cut([DOCUMENT], ChunkingSpec(), "docs")
    for order in (1, -1):
        gold = judged(*[span("A hold stops a box.", 1), span("A stop holds a truck.", 2), span("Lane 5 is closed.", 0)][::order])
        resolved = resolve(gold, [DOCUMENT], corpus)
        assert resolved.gold.qrels() == {"q": {"gates": 2}}
        assert resolved.turnover.n_passages_judged == 1
        assert resolved.turnover.n_resolved == 3
    assert resolve(judged(span("Lane 5 is closed.", 0)), [DOCUMENT], corpus).gold.qrels() == {"q": {"gates": 0}}


def test_a_judgment_of_a_passage_is_kept_and_one_of_another_chunking_counts_as_its_span():
    old = cut([DOCUMENT], ChunkingSpec(strategy="text", max_chars=30), "docs")
    new = cut([DOCUMENT], ChunkingSpec(strategy="text", max_chars=70), "docs")
    for passage in old.passages:
        gold = judged(Judgment(query_id="q", target_id=passage.passage_id, grade=1))
        assert resolve(gold, [DOCUMENT], old).gold.qrels() == {"q": {passage.passage_id: 1}}
        assert any(passage.text in text for text in passages_of(resolve(gold, [DOCUMENT], new), new))


def test_what_cannot_be_resolved_is_reported_with_its_reason():
    corpus = cut([DOCUMENT], MARKDOWN, "docs")
    gap = TEXT.index("\n\n## Holds")
    gold = judged(
        Judgment(query_id="q1", target_id="nowhere", grade=1),
        Judgment(query_id="q2", target_id="gates", grade=1, start=0, end=5000),
        Judgment(query_id="q3", target_id="gates", grade=1, start=gap, end=gap + 2),
        span("Lane 5", query_id="q4"),
    )
    resolved = resolve(gold, [DOCUMENT], corpus)
    assert [(judgment.query_id, reason) for judgment, reason in resolved.turnover.unresolved] == [
        ("q1", "'nowhere' is neither a document nor a passage of corpus 'docs'"),
        ("q2", f"the span 0..5000 reaches beyond document 'gates', which has {len(TEXT)} characters"),
        ("q3", f"the span {gap}..{gap + 2} of document 'gates' is white space only"),
    ]
    assert resolved.gold.qrels()["q1"] == {}
    assert [query.query_id for query in resolved.gold.queries] == ["q1", "q2", "q3", "q4"]
    assert resolved.turnover.summary() == (
        "1 of 4 judgments resolved to 1 judged passages; 3 could not be resolved, e.g. of query 'q1': "
        "'nowhere' is neither a document nor a passage of corpus 'docs'"
    )


def test_a_corpus_needs_documents_with_ids_of_their_own():
    with pytest.raises(ValueError, match="has no passages"):
        cut([], MARKDOWN, "docs")
    with pytest.raises(ValueError, match="passage ids twice"):
        cut([DOCUMENT, DOCUMENT], MARKDOWN, "docs")


def test_the_same_text_is_cut_the_same_way_again():
    assert cut([DOCUMENT], MARKDOWN, "a").fingerprint == cut([DOCUMENT], MARKDOWN, "b").fingerprint
    assert cut([DOCUMENT], MARKDOWN, "a").fingerprint != cut([DOCUMENT], ChunkingSpec(strategy="markdown", max_chars=40), "a").fingerprint


def test_a_real_set_without_chunking_keeps_its_judgments(shared_data):
    data = load_beir(shared_data / "covidqa", "test")
    corpus = cut(data.documents, ChunkingSpec(), "covidqa")
    resolved = resolve(data.gold, data.documents, corpus)
    assert resolved.gold.fingerprint == data.gold.fingerprint
    assert resolved.turnover.summary() == "303 of 303 judgments resolved to 303 judged passages"
