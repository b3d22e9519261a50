"""Licences of training data: counted, put together over generations, and said in a sentence."""

from ragtrial.domain.pair import Pair
from ragtrial.suite.data_licences import in_words, inherited_licences, licences_of, licences_of_negatives, merged, with_mined_licence


def pair(licence: str | None = None, *negatives: str, **noted: object) -> Pair:
    provenance = {**({} if licence is None else {"licence": licence}), **noted}
    return Pair(query="q", passage="p", passage_id="p", document_id="d", negatives=negatives, provenance=provenance)


def test_licences_that_differ_in_case_alone_are_one_as_written_first() -> None:
    assert licences_of([pair("cc-by-4.0"), pair("CC-BY-4.0"), pair(), pair("MIT")]) == {"cc-by-4.0": 2, "MIT": 1, "not stated": 1}
    assert list(merged({"not stated": 9, "MIT": 1}, {"mit": 1, "GPL-3.0": 4})) == ["GPL-3.0", "MIT", "not stated"]


def test_mined_negatives_have_the_licence_of_their_corpus_and_others_that_of_their_pair() -> None:
    before = (pair("MIT"), pair("MIT", "had"), pair("MIT", "had", negatives_licences=["MIT"]), pair("MIT"))
    after = (pair("MIT", "new"), pair("MIT", "had"), pair("MIT", "had", "new", negatives_licences=["MIT"]), pair("MIT"))
    noted = with_mined_licence(before, after, "GPL-3.0")
    assert [each.provenance.get("negatives_licences") for each in noted] == [["GPL-3.0"], None, ["MIT", "GPL-3.0"], None]
    assert licences_of_negatives(noted) == {"GPL-3.0": 2, "MIT": 1}
    assert licences_of_negatives(with_mined_licence(before, after, None)) == {"MIT": 1, "not stated": 2}
    assert licences_of_negatives([pair("MIT", negatives_licences=["GPL-3.0"])]) == {}, "its negatives were refused since"


def test_what_a_base_was_trained_on_is_inherited_over_all_generations() -> None:
    lineage = {"data_licences": {"MIT": 3, "not stated": 1}, "negatives_licences": {"GPL-3.0": 2}, "inherited_licences": {"mit": 5}}
    assert inherited_licences(lineage) == {"MIT": 8, "GPL-3.0": 2, "not stated": 1}
    assert inherited_licences({"pairs": {"used": 7}}) == {"not stated": 7}, "no record of it is no licence"


def test_the_sentence_names_each_licence_once_and_says_what_has_none() -> None:
    assert in_words({"not stated": 4}) is None
    assert in_words({"MIT": 4}) == "MIT"
    assert in_words({"MIT": 4}, {"mit": 4}, {"MIT": 9}) == "MIT"
    assert in_words({"MIT": 3, "not stated": 1}, {"GPL-3.0": 2}) == "MIT and GPL-3.0 (1 of 4 pairs not stated)"
    said = in_words({"not stated": 4}, {"MIT": 1, "not stated": 2}, {"CC-BY-4.0": 8, "not stated": 1})
    assert said == "CC-BY-4.0 and MIT (4 of 4 pairs, mined negatives of 2 pairs, some of what the base was trained on not stated)"
