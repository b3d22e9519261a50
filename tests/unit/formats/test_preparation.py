"""`prepare.yaml`: every fault is told with its line and what to do."""

from pathlib import Path

import pytest

from ragtrial.domain.preparation import PreparationSpec
from ragtrial.errors import ValidationError
from ragtrial.formats.preparation import load_preparation


def faults(folder: Path, text: str) -> list[str]:
    path = folder / "prepare.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValidationError) as caught:
        load_preparation(path)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_an_unknown_key_is_told_with_its_line_and_the_key_that_was_meant(tmp_path: Path) -> None:
    assert faults(tmp_path, "licence: CC0-1.0\nsplit:\n  tset: 0.2\n") == ["prepare.yaml:3: split.tset: unknown key: did you mean 'test'?"]
    assert faults(tmp_path, "licence: CC0-1.0\nlanguage: [en]\n") == ["prepare.yaml:2: language: unknown key: did you mean 'languages'?"]


def test_a_key_in_the_wrong_place_is_told_where_it_belongs_and_one_that_means_nothing_what_there_is(tmp_path: Path) -> None:
    assert faults(tmp_path, "date_format: '%d.%m.%Y'\n") == ["prepare.yaml:1: date_format: unknown key here: it belongs under 'tickets'"]
    assert faults(tmp_path, "duplicates: {zzz: 1}\n") == ["prepare.yaml:1: duplicates.zzz: unknown key: there are near, keep"]


def test_every_fault_is_told_at_once_in_the_order_of_its_lines(tmp_path: Path) -> None:
    said = faults(tmp_path, "langauges: [en]\nmin_words: few\nsplit: {by: topic}\n")
    assert said == [
        "prepare.yaml:1: langauges: unknown key: did you mean 'languages'?",
        "prepare.yaml:2: min_words: is 'few': expected a whole number",
        "prepare.yaml:3: split.by: is 'topic': expected 'document' or 'time'",
    ]


def test_an_empty_file_means_the_defaults_and_a_sound_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prepare.yaml"
    path.write_text("# nothing yet\n", encoding="utf-8")
    assert load_preparation(path) == PreparationSpec()
    path.write_text("languages: [en, de]\nsplit: {by: time, dev: 0.2}\n", encoding="utf-8")
    spec = load_preparation(path)
    assert (spec.languages, spec.split.by, spec.split.dev) == (("en", "de"), "time", 0.2)
