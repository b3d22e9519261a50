"""Personal data out of documents of any length; what can't be searched is dropped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragtrial.domain.preparation import PreparationSpec
from ragtrial.errors import RedactionError
from ragtrial.preparation.documents import NOT_REDACTED, Dropped, Kept, Worker
from ragtrial.preparation.personal_data import free
from ragtrial.preparation.raw import RawDocument, Unread
from ragtrial.preparation.work import Work
from ragtrial.redaction import Redactor

FILLER = "The tide comes in twice a day and the pilots wait for it. "
KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + "\n".join("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ" + "x" * 14 for _ in range(49))
    + "\n-----END RSA PRIVATE KEY-----"
)


@pytest.fixture(scope="module")
def redactor() -> Iterator[Redactor]:
    made = Redactor(timeout_s=50.0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def blind() -> Redactor:
    """One that can search nothing: it is closed."""
    made = Redactor()
    made.close()
    return made


def raw(place: str = "a/b.md", **fields: str) -> RawDocument:
    return RawDocument(place=place, format="markdown", **{"text": FILLER, **fields})


def test_all_else_stays_as_it_was_character_by_character(redactor: Redactor) -> None:
    text = "10² m, ½ cup, “ﬁne” é 한국어: ask ja\u200dne@mail.example now"
    freed = free(text, redactor)
    assert freed.text == "10² m, ½ cup, “ﬁne” é 한국어: ask <EMAIL_ADDRESS> now"
    assert [freed.text[find.start : find.end] for find in freed.finds] == ["<EMAIL_ADDRESS>"]


@pytest.mark.parametrize("before", [*range(7_800, 8_080, 23), 4_490, 12_400, 15_950])
def test_what_stands_where_a_long_text_is_cut_is_found(redactor: Redactor, before: int) -> None:
    text = (FILLER * 400)[:before] + " +31 20 123 4567 jane.roe@mail.example " + FILLER * 100
    freed = free(text, redactor)
    assert [find.kind for find in freed.finds] == ["PHONE_NUMBER", "EMAIL_ADDRESS"]
    assert freed.text == text.replace("+31 20 123 4567", "<PHONE_NUMBER>").replace("jane.roe@mail.example", "<EMAIL_ADDRESS>")


@pytest.mark.parametrize("before", [0, 3_000, 6_000, 7_500])
def test_a_long_key_goes_whole(redactor: Redactor, before: int) -> None:
    assert len(KEY) > 3_200
    freed = free((FILLER * 200)[:before] + "\n" + KEY + "\n" + FILLER * 150, redactor)
    assert "MIIE" not in freed.text
    assert freed.text.count("<SECRET>") == 1


def test_a_text_without_a_space_is_searched_too(redactor: Redactor) -> None:
    assert free("x" * 20_000, redactor).text == "x" * 20_000


def test_a_document_that_cannot_be_searched_is_dropped_and_none_of_it_is_left(blind: Redactor) -> None:
    with pytest.raises(RedactionError):
        free(FILLER, blind)
    done = Worker(PreparationSpec(), blind).done(raw(title="Call jane"))
    assert done == Dropped(document_id=done.document_id, source="<NOT_SHOWN>/<NOT_SHOWN>", reason=NOT_REDACTED, stage="redacted")


def test_titles_topics_and_paths_are_searched_too(redactor: Redactor) -> None:
    place = "desk/jane.roe@mail.example/b.csv#bob@mail.example"
    done = Worker(PreparationSpec(), redactor).done(
        RawDocument(place=place, title="For jane.roe@mail.example", topic="bob@mail.example", text=FILLER, format="ticket")
    )
    assert isinstance(done, Kept)
    assert done.source == "desk/<EMAIL_ADDRESS>/b.csv#<EMAIL_ADDRESS>"
    assert [done.source[find.start : find.end] for find in done.finds["source"]] == ["<EMAIL_ADDRESS>"] * 2
    assert (done.title, done.topic, done.folder) == ("For <EMAIL_ADDRESS>", "<EMAIL_ADDRESS>", "desk/<EMAIL_ADDRESS>")
    assert done.document_id.startswith("d-")
    assert "@" not in repr(done)


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("scan_4111111111111111.png", "scan_<CREDIT_CARD>.png"),
        ("hr/ssn_536-90-4399.doc", "hr/ssn_<US_SSN>.doc"),
        ("call_+31_20_123_4567_back.txt", "call_<PHONE_NUMBER>_back.txt"),
        ("from_jane_roe@mail.example", "<EMAIL_ADDRESS>"),
        ("ghp_0123456789abcdef.txt", "<SECRET>.txt"),
        ("container_moves_2024_v2.csv#1", "container_moves_2024_v2.csv#1"),
    ],
)
def test_personal_data_between_underscores_go_from_a_path_and_the_rest_of_it_stays(redactor: Redactor, place: str, source: str) -> None:
    done = Worker(PreparationSpec(), redactor).done(Unread(place=place, reason="a picture"))
    assert isinstance(done, Dropped)
    assert done.source == source
    assert (done.document_id == source) == ("<" not in source)


def test_a_name_between_underscores_goes_where_a_model_knows_names(tmp_path: Path) -> None:
    import spacy

    pipeline = spacy.blank("en")
    pipeline.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Anna Mueller"}])  # type: ignore[attr-defined]
    pipeline.to_disk(tmp_path / "names")
    knowing = Redactor(model=str(tmp_path / "names"), timeout_s=50.0)
    done = Worker(PreparationSpec(), knowing).done(Unread(place="hr/Kuendigung_Anna_Mueller doc.doc", reason="x"))
    knowing.close()
    assert isinstance(done, Dropped)
    assert done.source == "hr/Kuendigung_<PERSON> doc.doc"


def test_the_id_of_a_personal_path_says_nothing_of_what_stood_there(redactor: Redactor) -> None:
    worker = Worker(PreparationSpec(), redactor)
    one, other = (worker.done(Unread(place=f"{name}@mail.example/x.pdf", reason="a broken PDF")) for name in ("jane", "bob"))
    assert one.document_id == other.document_id != "x.pdf"


def test_a_path_without_personal_data_is_the_id(redactor: Redactor) -> None:
    assert Worker(PreparationSpec(), redactor).done(raw("guides/cranes.md")).document_id == "guides/cranes.md"


def test_work_is_taken_over_up_to_a_line_that_was_cut_off(tmp_path: Path) -> None:
    worker = Worker(PreparationSpec(redact=False), None)
    made = [worker.done(raw(f"{number}.md")) for number in range(3)]
    with Work(tmp_path / "w", resume=False) as work:
        for number, each in enumerate(made):
            work.of(f"k{number}", lambda each=each: each)
        work.finish_file("f", ["k0", "k1"])
    file = tmp_path / "w" / "documents.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"key": "k9", "kept": tr')
    with Work(tmp_path / "w", resume=True) as again:
        assert again.of_file("of other settings") is None
        assert again.taken_over == 0
        assert again.of_file("f") == made[:2]
        assert again.of("k2", lambda: pytest.fail("made again")) == made[2]
        again.of("k3", lambda: made[0])
        assert again.taken_over == 3  # what was asked for, not all that lies there
    assert file.read_bytes().startswith(whole + b'{"key": "k3"')
    with Work(tmp_path / "w", resume=False) as anew:
        assert anew.of("k2", lambda: made[0]) == made[0]
