"""What is redacted, and that nothing is kept where redacting failed."""

import logging
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragtrial.errors import RedactionError
from ragtrial.redaction import Redactor, query_digest, stored_query


@pytest.fixture(scope="module")
def redactor():
    made = Redactor(timeout_s=30.0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def too_strict():
    """A redactor for which every text is too long."""
    made = Redactor(max_chars=0)
    yield made
    made.close()


def wide(text):
    """In the full-width letters of Chinese and Japanese keyboards."""
    return "".join(chr(ord(char) + 0xFEE0) for char in text)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Mail jane.doe@example.com, or (bob@corp.internal).", "Mail <EMAIL_ADDRESS>, or (<EMAIL_ADDRESS>)."),
        ("Write to root@localhost!", "Write to <EMAIL_ADDRESS>!"),
        ("Type `@6a`, or ask `jane@corp.internal`", "Type `@6a`, or ask `<EMAIL_ADDRESS>`"),
        ("Decorate it with `@app.route`, write to /@A.AC", "Decorate it with `@app.route`, write to <EMAIL_ADDRESS>"),
        ("Call +31 20 123 4567 or 020 7946 0958", "Call <PHONE_NUMBER> or <PHONE_NUMBER>"),
        ("Call (212) 555-0123 now", "Call <PHONE_NUMBER> now"),
        ("IBAN GB82 WEST 1234 5698 7654 32 please", "IBAN <IBAN_CODE> please"),
        ("Card 4111 1111 1111 1111", "Card <CREDIT_CARD>"),
        ("From 192.168.1.17 or fe80::1 it fails", "From <IP_ADDRESS> or <IP_ADDRESS> it fails"),
        ("See https://user:pw@host/x?y=1 now", "See <URL> now"),
        ("postgresql://u:p@db:5432/x is down", "<URL> is down"),
        ("My SSN is 536-90-4399", "My SSN is <US_SSN>"),
        ("NHS number 943 476 5919", "NHS number <UK_NHS>"),
        ("NI number AB123456C", "NI number <UK_NINO>"),
        ("Pay to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "Pay to <CRYPTO>"),
        ("The passport 123456789 was lost", "The passport <US_PASSPORT> was lost"),
        ("UK passport AB1234567", "UK passport <UK_PASSPORT>"),
        ("MAC 00:1A:2B:3C:4D:5E", "MAC <MAC_ADDRESS>"),
        ("Why does sk-proj-abc123def456 fail?", "Why does <SECRET> fail?"),
        ("rt_ab12_x9y8z7w6v5u4 is refused", "<SECRET> is refused"),
        ("Key AKIAIOSFODNN7EXAMPLE leaked", "Key <SECRET> leaked"),
        ("Authorization: Bearer abc123.def456-ghi", "Authorization: <SECRET>"),
        ("My password is hunter2 and my pwd: secret", "My <SECRET> and my <SECRET>"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc", "<SECRET>"),
    ],
)
def test_what_has_the_form_of_personal_data_is_replaced_by_its_kind(redactor, text, redacted):
    assert redactor.redact(text).text == redacted


@pytest.mark.parametrize(
    "text",
    [
        "What is the tariff for reefer containers at berth 12?",
        "Which crane lifts MSCU1234567 on 2024-05-17 at 14:30?",
        "Why is setup.py missing in handbook.md, see example.com?",
        "What does a bearer token do, and how does sk-learning work?",
        "My password is expired, what now?",
        "",
    ],
)
def test_ordinary_questions_stay_as_they_are(redactor, text):
    assert (redactor.redact(text).text, dict(redactor.redact(text).found)) == (text, {})


def test_finds_are_counted_by_kind(redactor):
    assert redactor.redact("a@b.example, c@d.example, 10.0.0.1").found == {"EMAIL_ADDRESS": 2, "IP_ADDRESS": 1}


def test_addresses_hidden_in_other_forms_of_letters_are_found(redactor):
    hidden = f"{wide('jane@example.com')} or ja\u00adne@exam\u200bple.com"
    assert redactor.redact(hidden).text == "<EMAIL_ADDRESS> or <EMAIL_ADDRESS>"


def test_names_are_not_found_without_a_model_that_knows_them(redactor):
    assert redactor.redact("Where does Jane Doe live?").text == "Where does Jane Doe live?"


def test_names_are_found_with_a_model_that_knows_them(tmp_path):
    import spacy

    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Jane Doe"}, {"label": "GPE", "pattern": "Rotterdam"}])
    pipeline.to_disk(tmp_path / "names")
    found = Redactor(model=str(tmp_path / "names"), timeout_s=30.0).redact("Does Jane Doe, passport 123456789, live in Rotterdam?")
    assert found.text == "Does <PERSON>, passport <US_PASSPORT>, live in <LOCATION>?"


def test_a_model_that_is_not_installed_is_refused_and_not_downloaded():
    with pytest.raises(RedactionError, match="can't load the model 'en_core_web_lg': it is not installed"):
        Redactor(model="en_core_web_lg")


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(RedactionError, match="can't load the model"):
        Redactor(model=str(tmp_path))


def test_a_text_that_takes_too_long_is_an_error():
    with pytest.raises(RedactionError, match=r"took longer than 1e-06 s"):
        Redactor(timeout_s=1e-6).redact("a@b.example " * 500)


def test_a_text_that_is_too_long_is_an_error(redactor):
    with pytest.raises(RedactionError, match="the text has 8001 characters, more than 8000"):
        redactor.redact("a" * 8_001)


def test_a_closed_redactor_is_an_error():
    closed = Redactor()
    closed.close()
    with pytest.raises(RedactionError, match="the redactor is closed"):
        closed.redact("a")


def test_an_error_never_quotes_the_text(redactor):
    with pytest.raises(RedactionError, match="redacting failed with UnicodeEncodeError") as raised:
        redactor.redact("jane@example.com and half a pair \ud83e")  # which spaCy can't take
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_without_the_extra_a_redactor_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(RedactionError, match=r"redacting queries needs 'presidio_analyzer'.*pip install 'ragtrial\[pii\]'"):
        Redactor()


def test_nothing_of_a_text_is_logged(redactor, caplog):
    with caplog.at_level(logging.DEBUG):
        redactor.redact("the passport 123456789 of jane@example.com")
    assert not [record for record in caplog.records if "123456789" in record.getMessage() or "passport" in record.getMessage()]


def test_it_needs_no_network(tmp_path):
    code = (
        "import sys\n"
        "def audit(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'): raise SystemExit(f'{event} {arguments}')\n"
        "sys.addaudithook(audit)\n"
        "from ragtrial.redaction import Redactor\n"
        "print(Redactor(timeout_s=30.0).redact('jane@example.co.uk on https://a.example/').text)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.strip() == "<EMAIL_ADDRESS> on <URL>", done.stderr


texts = st.text(max_size=60)


@settings(deadline=None)
@example(before="", address="/@A.AC", after="")
@example(before="`", address="`@A.AC", after="`")
@given(before=texts, address=st.emails(), after=texts)
def test_an_address_put_into_any_text_never_survives(redactor, before, address, after):
    found = redactor.redact(f"{before} {address} {after}")
    assert address not in found.text
    assert found.found["EMAIL_ADDRESS"] >= 1
    kept = stored_query(f"{before} {address} {after}", "redacted", redactor, {})
    assert kept.text is not None
    assert address not in repr(kept)


@given(st.text(min_size=8))
def test_as_a_hash_the_text_never_survives(text):
    kept = stored_query(text, "hash", None, {})
    assert (kept.text, kept.stored) == (None, "hash")
    assert text not in (kept.digest, kept.gold_query_id)


@settings(deadline=None)
@given(text=st.text(min_size=8))
def test_where_redacting_fails_the_text_never_survives(too_strict, text):
    for redactor in (None, too_strict):
        kept = stored_query(text, "redacted", redactor, {})
        assert (kept.text, kept.stored, kept.digest) == (None, "hash", query_digest(text))


def test_in_full_the_text_stays_as_it_is():
    kept = stored_query(" As it  is ", "full", None, {})
    assert (kept.text, kept.stored) == (" As it  is ", "full")


@pytest.mark.parametrize(
    "same", ["what is a reefer?", "  What\tis\n a  REEFER? ", wide("What") + " is a reefer?", "what\u00a0is a reefer?"]
)
def test_texts_that_read_the_same_have_one_digest(same):
    assert query_digest(same) == query_digest("What is a reefer?")


def test_other_texts_have_other_digests():
    assert query_digest("What is a reefer?") != query_digest("What is a reefer")
    assert len(query_digest("")) == 32
    assert query_digest("half \ud83e") != query_digest("half")


def test_a_query_of_the_gold_set_is_known_by_its_digest():
    gold = {query_digest("What is a reefer?"): "q7"}
    assert stored_query("what is a  REEFER?", "hash", None, gold).gold_query_id == "q7"
    assert stored_query("What is a berth?", "hash", None, gold).gold_query_id is None
