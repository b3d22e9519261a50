"""More pairs for terms that users will say and the pairs hardly do: abbreviations and long forms, one for the other.

Which abbreviation stands for what is read from the corpus itself, by the algorithm of Schwartz and Hearst 2003 ("A simple algorithm for
identifying abbreviation definitions in biomedical text", Pacific Symposium on Biocomputing): the letters of the short form are found
from right to left in the words before (or in) the parentheses. It is some 20 lines, and the packages that offer it bring a language model
or have not been released for years.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ragtrial.domain.corpus import Passage
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.gathering import Gathered
from ragtrial.finetuning.leakage import normalise

AMBIGUOUS = "short forms that stand for several things"
OFTEN = "forms that are in enough queries already"

ENOUGH = "variants of a form that is not rare any more with those before them"

MOST_QUERIES = 5
"""A form that stands in so many queries of the pairs is not rare in them."""

LEAST_PASSAGES = 2
"""A form that stands in fewer passages is left alone: it may be a slip of the pen."""

_PARENTHESES = re.compile(r"\(([^()]{2,100})\)")
_SHORT = re.compile(r"[^\W_](?:[\w&/.-]{0,8}[^\W_])?")
_SMALL = frozenset(("a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"))
_EXPLAINED = re.compile(
    r"\b(?P<short>[A-Z][A-Z0-9&/-]{1,7})\b\*{0,2}\s+(?:is\s+the|is\s+an?|means(?:\s+the|\s+an?)?|stands\s+for(?:\s+the|\s+an?)?)\s+"
    r"(?P<rest>[^.;:(),\n]{4,100})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """An abbreviation and what it stands for, as the corpus writes them."""

    short: str
    long: str


def forms_of(passages: Sequence[Passage]) -> tuple[tuple[Forms, ...], int]:
    """The abbreviations that the corpus explains, and how many short forms were left out because it explains them in several ways."""
    said: dict[str, dict[str, str]] = {}
    for passage in passages:
        for forms in _explained(passage.text):
            said.setdefault(forms.short, {}).setdefault(_stem(forms.long), forms.long)
    clear = tuple(Forms(short=short, long=next(iter(longs.values()))) for short, longs in said.items() if len(longs) == 1)
    return clear, len(said) - len(clear)


def augmented(pairs: Sequence[Pair], passages: Sequence[Passage], *, most_queries: int = MOST_QUERIES) -> Gathered:
    """For each pair whose query holds a form whose other form is rare in the queries, the same pair with the other form.

    Rare is what fewer than `most_queries` different queries hold, the variants among them, while at least `LEAST_PASSAGES` passages hold
    the short or the long form. Passage, negatives, score and split stay. A query with two such forms gives a pair for each of them.

    Args:
        pairs: Of any origin but `augmented`.
        passages: The corpus.
        most_queries: See above.
    """
    forms, ambiguous = forms_of(passages)
    queries = _Texts(dict.fromkeys(pair.query for pair in pairs))
    corpus = _Texts([passage.text for passage in passages])
    left_out = Counter({AMBIGUOUS: ambiguous} if ambiguous else {})
    swaps: list[tuple[str, str, int]] = []
    for each in forms:
        if len(corpus.holding(each.short) | corpus.holding(each.long)) < LEAST_PASSAGES:
            continue
        for said, other in ((each.short, each.long), (each.long, each.short)):
            lacking = most_queries - len(queries.holding(other))
            if lacking <= 0:
                left_out[OFTEN] += 1
            elif queries.holding(said):
                swaps.append((said, other, lacking))
    found: list[Pair] = []
    for said, other, lacking in swaps:
        variants = [variant for pair in pairs for variant in _variant(pair, said, other)]
        found += variants[:lacking]
        if len(variants) > lacking:
            left_out[ENOUGH] += len(variants) - lacking
    return Gathered(pairs=tuple(found), left_out=dict(left_out), facts={"abbreviations in the corpus": len(forms)})


def _variant(pair: Pair, said: str, other: str) -> Iterator[Pair]:
    if pair.origin == "augmented":
        return
    query = _pattern(said).sub(other.replace("\\", r"\\"), pair.query)
    if query != pair.query and not _pattern(other).search(pair.query):
        about: Mapping[str, object] = {"from": pair.query, "of_origin": pair.origin, "said": said, "instead": other}
        yield replace(pair, query=query, origin="augmented", provenance={**about, "made_as": dict(pair.provenance)})


class _Texts:
    """Finds the texts that hold a form."""

    def __init__(self, texts: Sequence[str] | Mapping[str, object]) -> None:
        self._texts = tuple(texts)
        self._words: dict[str, set[int]] = {}
        for place, text in enumerate(self._texts):
            for word in normalise(text).split():
                self._words.setdefault(word, set()).add(place)

    def holding(self, form: str) -> set[int]:
        """Places of the texts that hold the form."""
        words = normalise(form).split()
        near = set.intersection(*(self._words.get(word, set()) for word in words)) if words else set[int]()
        pattern = _pattern(form)
        return {place for place in near if pattern.search(self._texts[place]) is not None}


def _pattern(form: str) -> re.Pattern[str]:
    """Short forms as they are written, because `IT` is no `it`; long ones in any case."""
    words = r"[\s-]+".join(map(re.escape, re.split(r"[\s-]+", form)))
    return re.compile(rf"(?<!\w){words}(?!\w)", 0 if _abbreviates(form) else re.IGNORECASE)


def _abbreviates(form: str) -> bool:
    return " " not in form and sum(map(str.isupper, form)) >= 2


def _stem(long: str) -> str:
    """Singular and plural, hyphen and space are one meaning."""
    return " ".join(word.removesuffix("s") for word in normalise(long).split())


def _explained(text: str) -> Iterator[Forms]:
    for match in _PARENTHESES.finditer(text):
        inside, before = match[1].strip(), text[max(0, match.start() - 120) : match.start()].rstrip(" *_`")
        if _is_short(inside):
            long = _long_form(inside, _last_words(before, inside))
            if long is not None:
                yield Forms(short=inside, long=long)
        elif before.split() and _is_short(before.split()[-1].strip("*_`")):
            short = before.split()[-1].strip("*_`")
            yield from _if_whole(short, re.split(r"[;,]", inside)[0])
    for match in _EXPLAINED.finditer(text):
        words = match["rest"].split()
        for n in range(2, min(len(words), len(match["short"]) + 3) + 1):
            found = tuple(_if_whole(match["short"], " ".join(words[:n])))
            if found:
                yield from found
                break


def _if_whole(short: str, text: str) -> Iterator[Forms]:
    """The forms where the short one is the initials of all words of the text, or of all but the small ones."""
    text = text.strip(" *_`")
    words = [word for word in re.split(r"[\s-]+", text) if word]
    letters = "".join(filter(str.isalnum, short)).casefold()
    initials = ("".join(word[0] for word in chosen).casefold() for chosen in (words, [word for word in words if word not in _SMALL]))
    if len(words) > 1 and words[-1] not in _SMALL and letters in initials:
        yield Forms(short=short, long=text)


def _is_short(text: str) -> bool:
    """At least two capitals, so that words in parentheses are no abbreviations."""
    return 2 <= len(text) <= 10 and _SHORT.fullmatch(text) is not None and sum(map(str.isupper, text)) >= 2


def _most_words(short: str) -> int:
    return min(len(short) + 5, 2 * len(short))


def _last_words(before: str, short: str) -> str:
    """The words before the parentheses, as many as the algorithm looks at, of the same sentence."""
    same = re.split(r"[.;:!?\n]\s", before)[-1]
    return " ".join(same.split()[-_most_words(short) :])


def _long_form(short: str, text: str) -> str | None:
    """The shortest end of the text in which the short form's letters stand in order, the first of them at the beginning of a word."""
    place = len(text) - 1
    for number in range(len(short) - 1, -1, -1):
        letter = short[number].casefold()
        if not letter.isalnum():
            continue
        while place >= 0 and (text[place].casefold() != letter or (number == 0 and place > 0 and text[place - 1].isalnum())):
            place -= 1
        if place < 0:
            return None
        place -= 1
    found = text[text.rfind(" ", 0, place + 2) + 1 :].strip(" *_`\"'(“”")
    fits = len(found) > len(short) and short not in found.split() and found.count("(") == found.count(")")
    return found if fits and len(found.split()) <= _most_words(short) else None
