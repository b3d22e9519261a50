import pytest

from ragtrial.generation.sentences import sentences_of

MARKDOWN = """# Verified gross mass

## Who declares, and by which method
The shipper names
the gross mass. A haulier cannot vouch for it.

- The permit number must stand there
- Method 2 adds cargo, dunnage and tare. It needs a permit.
  The permit is free
1. Weigh the packed box
2. Send the signed declaration

| Setting | Default | Meaning |
|---|:-:|---|
| `early_min` | 15 | minutes a truck may be early |

> Boxes are *never* weighed
> twice on one day.

```
weigh --box MSKU --twice
ship it. and go on.
```
***
Only shippers may order it."""


def test_markdown_marks_are_dropped_and_each_block_is_cut_on_its_own():
    assert sentences_of(MARKDOWN) == (
        "The shipper names the gross mass.",
        "A haulier cannot vouch for it.",
        "The permit number must stand there",
        "Method 2 adds cargo, dunnage and tare.",
        "It needs a permit.",
        "The permit is free",
        "Weigh the packed box",
        "Send the signed declaration",
        "`early_min` | 15 | minutes a truck may be early",
        "Boxes are *never* weighed twice on one day.",
        "weigh --box MSKU --twice",
        "and go on.",
        "Only shippers may order it.",
    )


def test_abbreviations_brackets_decimals_and_initials_of_scientific_prose_end_no_sentence():
    text = (
        "Mutations were found (Fig. 2A). The variant p.N62D vs. wild type (e.g. in E. coli) was 3.5-fold, i.e. significant. "
        "Smith et al. (2010) reported p<0.05 for it. Dr. Jones did not agree."
    )
    assert sentences_of(text) == (
        "Mutations were found (Fig. 2A).",
        "The variant p.N62D vs. wild type (e.g. in E. coli) was 3.5-fold, i.e. significant.",
        "Smith et al. (2010) reported p<0.05 for it.",
        "Dr. Jones did not agree.",
    )


@pytest.mark.parametrize(
    "text",
    [
        "The ratio was > 400 in the samples.",
        "Take 3 - 5 mg * day # for a week.",
        "In 2 | 3 of all cases it works.",
        "It rose by - 5 points at C# level.",
        "-5 degrees were measured that day.",
        "#hashtag is no heading at all.",
        "**Bold** words open no list item.",
        "3.5 of them are no list item.",
    ],
)
def test_marks_inside_a_line_of_prose_are_prose(text):
    assert sentences_of(text) == (text,)


def test_a_number_at_a_line_break_inside_a_paragraph_begins_no_list():
    assert sentences_of("The figures for the quay are given in table\n3. The yard is described in chapter\n1. It is short though.") == (
        "The figures for the quay are given in table 3.",
        "The yard is described in chapter",
        "It is short though.",
    )


def test_sentences_of_fewer_than_three_words_are_skipped():
    assert sentences_of("Yes. See below. -- | -- It does work.") == ("-- | -- It does work.",)


@pytest.mark.parametrize("text", ["", "   \n\n", "# Only a heading", "---", "|---|---|", "```\n```", "Too short."])
def test_a_passage_may_have_no_sentence(text):
    assert sentences_of(text) == ()


def test_a_passage_that_begins_inside_a_table_or_a_code_block_is_cut_line_by_line():
    assert sentences_of("| a | b | c |\n| d | e | f |\n```\nThen the text goes on") == ("a | b | c", "d | e | f", "Then the text goes on")


def test_long_and_odd_texts_come_out_whole():
    text = "word " * 20_000 + "end."
    assert sentences_of(text) == (text,)
    assert len(sentences_of("One two three. " * 20_000)) == 20_000
