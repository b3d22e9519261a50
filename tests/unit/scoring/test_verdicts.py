import json

import pytest

from ragtrial.scoring.verdicts import read_choice, read_object, read_verdict

CHOICES = ("correct", "partly", "wrong", "abstained")
GOOD = '{"rationale": "it says 15", "verdict": "correct"}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Here is my verdict:\n\n{GOOD}\nI hope that it helps {{smile}}.",
        f"With {{braces}} and {{ a set }} before: {GOOD}",
        f"[{GOOD}]",
        f"{GOOD}\n{GOOD}",
        '{"verdict": " Correct\\n", "rationale": "it says 15"}',
        '{"rationale": "it says 15", "confidence": {"high": 1}, "verdict": "CORRECT"}',
        f'{{"thought": "none"}}\n{GOOD}',
        f'<think>perhaps {{"rationale": "x", "verdict": "wrong"}}?</think>{GOOD}',
    ],
)
def test_one_verdict_is_found_however_it_is_wrapped(text):
    assert read_verdict(text, CHOICES) == ("it says 15", "correct")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("correct", "no JSON object"),
        ("", "no JSON object"),
        (f"<think>perhaps {GOOD}, or", "no JSON object"),
        ('{"rationale": "x"}', "no JSON object"),
        ("{'rationale': 'x', 'verdict': 'correct'}", "no JSON object"),
        ('{"rationale": "x", "verdict": "correct"', "broken"),
        ('{"rationale": "x", "verdict": "corr', "broken"),
        ('{"rationale": "x", ', "broken"),
        ("{", "broken"),
        ('{"answer": {"rationale": "x", "verdict": "correct"}, "more": ', "broken"),
        ('{"rationale": "x", "verdict": "correct", "verdict": "wrong"}', "twice"),
        ('The answer says {"rationale": "y", "verdict": "correct"}. {"rationale": "x", "verdict": "wrong"}', "contradict"),
        ('{"rationale": "x", "verdict": "mostly correct"}', "none of"),
        ('{"rationale": "x", "verdict": "correct or wrong"}', "none of"),
        ('{"rationale": "x", "verdict": ""}', "none of"),
        ('{"rationale": "x", "verdict": null}', "none of"),
        ('{"rationale": "x", "verdict": ["correct"]}', "none of"),
        ('{"rationale": 7, "verdict": "correct"}', "no text"),
        ('{"rationale": "x", "verdict": ' + '{"a":' * 100_000, "too deep"),
        ('{"rationale": "x", "verdict": ' + "9" * 5_000 + "}", "broken"),
    ],
)
def test_anything_else_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        read_verdict(text, CHOICES)


@pytest.mark.parametrize("end", range(1, len(GOOD)))
def test_no_beginning_of_an_answer_passes_for_a_whole_one(end):
    with pytest.raises(ValueError, match=r"broken|no JSON"):
        read_verdict(GOOD[:end], CHOICES)


def test_no_beginning_of_a_list_of_claims_passes_for_a_whole_one():
    whole = json.dumps({"claims": [{"claim": "a", "passages": [1], "verdict": "supported", "claims": []}] * 3})
    for end in range(1, len(whole)):
        with pytest.raises(ValueError, match=r"broken|no JSON"):
            read_object(whole[:end], required=("claims",))


@pytest.mark.parametrize("word", ["not_supported", "Not Supported", "not-supported", " NOT_SUPPORTED\n"])
def test_case_space_and_hyphen_of_a_verdict_make_no_difference(word):
    assert read_choice(word, ("supported", "not_supported")) == "not_supported"


def test_a_rationale_can_be_kept_by_any_database():
    rationale, _ = read_verdict('{"rationale": "a\\u0000b \\ud800 c", "verdict": "wrong"}', CHOICES)
    assert rationale == "a b \ufffd c"
