from hypothesis import given, settings
from hypothesis import strategies as st

from ragtrial.chunking import chunker, cut, resolve
from ragtrial.domain.corpus import Document
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.domain.gold import GoldSet, Judgment, Query

PIECES = [
    "a",
    "box",
    "## Heading\n\n",
    "\n\n",
    ". ",
    " ",
    "- item\n",
    "éß",
    "😀",
    "\u0301",
    "long" * 9,
    "\t",
    "\x1c",
    "`x`",
    "\r\n",
    "| a | b |\n",
]
WORDS = st.sampled_from(PIECES)
TEXTS = st.lists(WORDS, min_size=1, max_size=80).map("".join).filter(str.strip)
SPECS = st.builds(
    lambda strategy, size, overlap: ChunkingSpec(strategy=strategy, max_chars=size, overlap_chars=min(overlap, size - 1)),
    st.sampled_from(["none", "text", "markdown"]),
    st.integers(20, 120),
    st.integers(0, 40),
)


def letters(text: str, start: int, end: int) -> set[int]:
    return {offset for offset in range(start, end) if not text[offset].isspace()}


@given(TEXTS, SPECS)
def test_passages_are_verbatim_in_order_within_the_limit_and_lose_no_letter(text, spec):
    document = Document(document_id="d", text=text)
    passages = chunker(spec).split(document)
    assert all(text[passage.start : passage.end] == passage.text for passage in passages)
    assert [passage.start for passage in passages] == sorted(passage.start for passage in passages)
    assert len({passage.passage_id for passage in passages}) == len(passages)
    if spec.strategy != "none":
        assert max(len(passage.text) for passage in passages) <= spec.max_chars
    assert set().union(*(letters(text, passage.start, passage.end) for passage in passages)) == letters(text, 0, len(text))


@st.composite
def judged_texts(draw):
    text = draw(TEXTS)
    spans = []
    for number in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        grade = draw(st.integers(0, 2))
        spans.append(Judgment(query_id=f"q{number % 2}", target_id="d", grade=grade, start=start, end=end))
    return text, tuple(spans)


@settings(max_examples=300)
@given(judged_texts(), SPECS)
def test_a_gold_set_survives_any_chunking_or_says_what_it_lost(given_text, spec):
    text, judgments = given_text
    document = Document(document_id="d", text=text)
    corpus = cut([document], spec, "docs")
    gold = GoldSet(name="g", queries=(Query(query_id="q0", text="x"), Query(query_id="q1", text="x")), judgments=judgments)
    resolved = resolve(gold, [document], corpus)
    unresolved = [judgment for judgment, _ in resolved.turnover.unresolved]
    partial = dict(resolved.turnover.partial)
    held_by = {passage.passage_id: letters(text, passage.start, passage.end) for passage in corpus.passages}
    relevant = {
        query: set().union(*(held_by[target] for target, grade in grades.items() if grade > 0))
        for query, grades in resolved.gold.qrels().items()
    }
    for judgment in judgments:
        wanted = letters(text, judgment.start, judgment.end)
        if not wanted:
            assert judgment in unresolved
        elif judgment.grade > 0:
            held = len(wanted & relevant[judgment.query_id]) / len(wanted)
            assert held >= partial.get(judgment, 1.0) >= 0.5
            grades = resolved.gold.qrels()[judgment.query_id]
            assert max(grade for target, grade in grades.items() if wanted & held_by[target]) >= judgment.grade
    assert resolved.turnover.n_resolved + len(unresolved) == resolved.turnover.n_judgments == len(judgments)


@given(judged_texts(), SPECS, SPECS)
def test_resolving_a_resolved_gold_set_changes_nothing(given_text, spec, other):
    text, judgments = given_text
    document = Document(document_id="d", text=text)
    corpus = cut([document], spec, "docs")
    gold = GoldSet(name="g", queries=(Query(query_id="q0", text="x"), Query(query_id="q1", text="x")), judgments=judgments)
    once = resolve(gold, [document], corpus)
    again = resolve(once.gold, [document], corpus)
    assert again.gold.qrels() == once.gold.qrels()
    assert again.turnover.unresolved == again.turnover.partial == ()
    moved = resolve(once.gold, [document], cut([document], other, "docs"))
    assert moved.turnover.unresolved == ()
