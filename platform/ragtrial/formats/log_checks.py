"""What columns of a live log's files may hold: one by one, and what the columns of one row must say together.

Checks are of whole columns, so that ten million rows cost little; only where one fails is a row looked for.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_COUNT = 2**31 - 1
_LATEST = 1e11  # in the year 5138; the same number of milliseconds is in 1973

Range = tuple[float, float, str]
"""Least and most, and in words what lies beyond."""

MOMENT: Range = (0.0, _LATEST, "is no moment in seconds since 1970 (of milliseconds, give a thousandth)")
NOT_NEGATIVE: Range = (0.0, math.inf, "is negative: give 0 or more")
CHANCE: Range = (math.ulp(0.0), 1.0, "is no chance: give more than 0 and at most 1")
COUNT: Range = (0, LARGEST_COUNT, f"is no count: give a whole number from 0 to {LARGEST_COUNT:,}")
BUCKET: Range = (0, 9_999, "is no bucket: give a whole number from 0 to 9999")
CREDIT: Range = (-LARGEST_COUNT, LARGEST_COUNT, "is beyond what is counted")

Fault = tuple[Any, str, str]
"""Where it is (an array of flags), the column, and what is said."""


def out_of(values: Any, allowed: Range) -> Any:
    """Where numbers lie outside of a range."""
    import pyarrow.compute as pc

    least, most, _said = allowed
    return pc.or_(pc.less(values, least), pc.greater(values, most))


def not_unicode(values: Any) -> int | None:
    """The place of the first text that is no UTF-8, as half of a surrogate pair is none; None where all are."""
    import pyarrow as pa

    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    begin = 0
    for chunk in chunks:
        try:
            chunk.validate(full=True)
        except pa.ArrowInvalid:
            for place, value in enumerate(chunk):
                if value.is_valid and not _is_unicode(value.as_buffer().to_pybytes()):
                    return begin + place
        begin += len(chunk)
    return None


def _is_unicode(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def unfit(texts: "pa.Array", fits: Callable[[Any], bool]) -> list[str]:
    """Distinct texts that are no JSON, or JSON of another shape."""
    import pyarrow.compute as pc

    return [text for text in pc.unique(texts).to_pylist() if text is not None and not _fits(text, fits)]


def _fits(text: str, fits: Callable[[Any], bool]) -> bool:
    try:
        return "\\u0000" not in text and fits(json.loads(text, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        return False


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _is_text(value: Any) -> bool:
    """Also encodable: JSON may name half of a surrogate pair."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _are_hits(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(hit, list) and len(hit) == 2 and _is_text(hit[0]) for hit in value):
        return False
    similar = [hit[1] for hit in value]
    if not all(isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one) for one in similar):
        return False
    return similar == sorted(similar, reverse=True) and len({hit[0] for hit in value}) == len(value)


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_teams(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value)) and set(value.values()) <= {"control", "treatment", "both"}


def _are_opinions(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


SHAPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "hits": (_are_hits, "[[passage_id, similarity], ...], best first, each passage once"),
    "cited": (_are_words, "[passage_id, ...]"),
    "tags": (_are_words, "[word, ...]"),
    "teams": (_are_teams, '{passage_id: "control", "treatment" or "both", ...}'),
    "opinions": (_are_opinions, "[{...}, ...]"),
}
"""By the column's name: the check of its JSON, and how it is said."""


def repeated(ids: "pa.Array") -> int | None:
    """The place of the first id that stands further up already; None where each stands once."""
    import pyarrow.compute as pc

    if pc.count_distinct(ids).as_py() == len(ids):
        return None
    seen: set[str] = set()
    for place, one in enumerate(ids.to_pylist()):
        if one in seen:
            return place
        seen.add(one)
    return None


def trial_faults(found: "pa.Table") -> Iterator[Fault]:
    """What columns of trials contradict, once the defaults are in."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def there(name: str) -> Any:
        if name in found.schema.names:
            return pc.is_valid(found[name])
        return pa.chunked_array([pa.repeat(pa.scalar(value=False), found.num_rows)])

    hidden = pc.and_(pc.equal(found["reason"], "split"), pc.invert(there("unit")))
    yield hidden, "unit", "has no value, nor has user: give one, or a reason that is not 'split'"
    if "unit" in found.schema.names:
        hashed = pc.fill_null(pc.match_substring_regex(found["unit"], "^[0-9a-f]{32}$"), fill_value=True)
        yield pc.invert(hashed), "unit", "is no pseudonym of 32 hexadecimal digits: give who it is in the column `user`, which is made one"
    yield pc.and_(there("finish_reason"), there("failure_stage")), "finish_reason", "stands beside failure_stage: an answer, or a failure"
    yield pc.xor(there("n_hits"), there("hits")), "hits", "and n_hits have a value together, or neither"
    if "hits" in found.schema.names:
        yield (
            pc.fill_null(pc.not_equal(found["n_hits"], sizes(found["hits"])), fill_value=False),
            "n_hits",
            "is not how many `hits` there are",
        )
    bare = pc.invert(pc.or_(there("n_hits"), there("failure_stage")))
    yield bare, "n_hits", "has no value, nor has failure_stage: a ranking, or a failure"
    lonely = pc.and_(
        pc.xor(there("answer_text"), there("finish_reason")), pc.or_(there("answer_text"), pc.invert(there("texts_erased_at")))
    )
    yield lonely, "answer_text", "and finish_reason have a value together, or neither"
    if "answer_text" in found.schema.names and "finish_reason" in found.schema.names:
        empty = pc.equal(pc.utf8_trim_whitespace(found["answer_text"]), "")
        odd = pc.fill_null(pc.xor(empty, pc.equal(found["finish_reason"], "abstained")), fill_value=False)
        yield odd, "answer_text", "is empty exactly where finish_reason is 'abstained'"
    yield (
        pc.xor(found["served"], pc.equal(found["trial_id"], found["request_id"])),
        "served",
        "is true exactly where trial_id is request_id",
    )
    plain = pc.xor(pc.equal(found["query_stored"], "hash"), pc.is_null(found["query_text"]))
    yield plain, "query_stored", "is 'hash' exactly where there is no query_text"


def score_faults(found: "pa.Table") -> Iterator[Fault]:
    """What columns of scores contradict."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = found.schema.names
    nothing = pa.chunked_array([pa.repeat(pa.scalar(value=False), found.num_rows)])
    value = pc.is_valid(found["value"]) if "value" in names else nothing
    reason = pc.is_valid(found["unscored"]) if "unscored" in names else nothing
    yield pc.equal(value, reason), "value", "or unscored: a number, or the reason why there is none, and not both"
    if "unscored" in names:
        yield pc.fill_null(pc.equal(found["unscored"], ""), fill_value=False), "unscored", "is empty: give the reason"


def sizes(lists: Any) -> Any:
    """How many elements each of these JSON lists has; NULL where there is none."""
    import pyarrow as pa

    texts = lists.combine_chunks().dictionary_encode()
    return pa.array([len(json.loads(text)) for text in texts.dictionary.to_pylist()], pa.int64()).take(texts.indices)
