"""Query texts without personal data, and queries as the log keeps them.

What has a form is found (addresses, numbers, keys); names of people and places only with a spaCy model that knows them. It fails closed:
what could not be redacted for sure is an error, and then only the hash is kept.
"""

import hashlib
import logging
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ragtrial.domain.live import QueryText
from ragtrial.domain.live_trial import StoredQuery
from ragtrial.errors import MissingExtraError, RedactionError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine, RecognizerResult

T = TypeVar("T")

_MIN_SCORE = 0.4
"""Presidio's score of a weak pattern beside a word that supports it (`passport`, `account`), and of every telephone number."""

_BY_FORM = ("CreditCard", "Crypto", "Iban", "Ip", "MacAddress", "MedicalLicense", "Phone")
_BY_COUNTRY = ("Nhs", "UkDrivingLicence", "UkNino", "UkPassport", "UsBank", "UsItin", "UsMbi", "UsPassport", "UsSsn")
_NAMES = ("PERSON", "LOCATION", "NRP")

_OURS: Mapping[str, tuple[str, ...]] = {
    # Presidio's own one asks a list of top-level domains, which is downloaded, and lets go what is not on it (jane@mail.internal).
    "EMAIL_ADDRESS": (
        r"[^\W_][^\s@,;()<>\[\]\"`]*@[^\s,;()<>\[\]\"`]*[^\s@,;()<>\[\]\"`.!?:']",
        # RFC 5321 lets a mailbox be all signs (/@example.com); then the host needs a dot, and `@app.route` in backquotes is code.
        r"(?:[^\w\s@,;()<>\[\]\"]|_)+@[^\s,;()<>\[\]\"`]*\.[^\s@,;()<>\[\]\"`.!?:']{2,}+(?!`)",
    ),
    # Presidio's own one takes every host name for personal, also `setup.py`; and leaves the password in postgresql://user:password@host.
    "URL": (r"\b[a-z][a-z0-9+.\-]{1,30}://[^\s<>\"]+",),
    "SECRET": (
        r"\b(?:sk|pk|rk|rt|hf|ghp|gho|ghu|ghs|ghr|github_pat|glpat|xox[abeprs]|npm|pypi|dop_v1)[-_](?:(?=[\w\-]*\d)[\w\-]{8,}|[\w\-]{20,})",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"\bAIza[\w\-]{30,}",
        r"\beyJ[\w\-]{5,}\.[\w\-]{5,}(?:\.[\w\-]*)?",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        r"\b(?:bearer|basic)\s+(?=[\w.~+/\-]*\d)[\w.~+/\-]{12,}=*",
        r"\b(?:pass(?:word|wd|phrase)?|pwd|secret|(?:api|access|auth|private)[ _\-]?(?:key|token)|token)\s*(?:[:=]\s*\S+|is\s+(?=\S*\d)\S+)",
    ),
}
"""Patterns of our own by what they find; upper and lower case alike, `.` matches line breaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """A text without the personal data that were found.

    Attributes:
        text: In Unicode NFKC without invisible characters; each find is replaced by its kind, e.g. `<EMAIL_ADDRESS>`.
        found: How often each kind was found.
    """

    text: str
    found: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """Where personal data stand in a text, without the data.

    Attributes:
        kind: What it is, e.g. `EMAIL_ADDRESS`.
        start: Offset of its first character.
        end: Offset after its last one.
    """

    kind: str
    start: int
    end: int


class Redactor:
    """Finds personal data with Presidio's patterns, and some of its own. Offline. One text at a time, from any thread.

    Args:
        model: Name or folder of an installed spaCy model that finds names (e.g. `en_core_web_md`); None finds no names.
        timeout_s: A text that takes longer, waiting included, is an error.
        max_chars: So is a longer text.

    Raises:
        RedactionError: Presidio or the model is not installed, or can't be loaded. Nothing is downloaded.
    """

    def __init__(self, *, model: str | None = None, timeout_s: float = 2.0, max_chars: int = 8_000) -> None:
        start = time.perf_counter()
        try:
            self._analyzer, longest_s = _analyzer(model)
        except ImportError as error:
            missing = MissingExtraError(package=str(error.name), extra="pii", purpose="redacting queries")
            raise RedactionError(str(missing)) from error
        except (OSError, ValueError) as error:  # what spaCy raises for a folder that holds no model, or another version's
            raise RedactionError(f"spaCy can't load the model {model!r}: {error}") from error
        # Presidio skips a pattern that runs into its own time limit; ours must be the first to end, or that would look like nothing found.
        self._timeout_s = min(timeout_s, 0.9 * longest_s)
        self._max_chars = max_chars
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="redaction")
        self._redact("Call +44 20 7946 0958, the passport is 123456789.")  # compiles the patterns
        self.build_ms = 1000 * (time.perf_counter() - start)

    @property
    def max_chars(self) -> int:
        """The longest text that it takes."""
        return self._max_chars

    def redact(self, text: str) -> Redacted:
        """The text without what was found in it.

        Raises:
            RedactionError: It is too long, took too long, or anything went wrong; the message never holds the text.
        """
        return self._guarded(self._redact, text)

    def find(self, text: str) -> tuple[Find, ...]:
        """Where personal data stand in the text as it is: they are looked for as in `redact`, and the text keeps its characters.

        Raises:
            RedactionError: As for `redact`.
        """
        return self._guarded(self._find, text)

    def _guarded(self, work: Callable[[str], T], text: str) -> T:
        if len(text) > self._max_chars:
            raise RedactionError(f"the text has {len(text)} characters, more than {self._max_chars}")
        try:
            future = self._worker.submit(work, text)
        except RuntimeError:
            raise RedactionError("the redactor is closed") from None
        try:
            return future.result(self._timeout_s)
        except TimeoutError:
            future.cancel()
            raise RedactionError(f"redacting took longer than {self._timeout_s:g} s") from None
        except Exception as error:  # noqa: BLE001  whatever it was, the text must not be kept; its message may quote the text
            raise RedactionError(f"redacting failed with {type(error).__name__}") from None

    def close(self) -> None:
        """Let go of the thread; further calls are errors."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _find(self, text: str) -> tuple[Find, ...]:
        plain, runs = _visible_runs(text)
        return tuple(Find(kind=kind, start=runs[start][0], end=runs[end - 1][1]) for start, end, kind in self._finds(plain))

    def _finds(self, plain: str) -> list[tuple[int, int, str]]:
        return _merged(self._analyzer.analyze(plain, language="en", score_threshold=_MIN_SCORE))

    def _redact(self, text: str) -> Redacted:
        plain = _visible(text)
        finds = self._finds(plain)
        pieces, end = [], 0
        for start, stop, kind in finds:
            pieces += [plain[end:start], f"<{kind}>"]
            end = stop
        return Redacted(text="".join([*pieces, plain[end:]]), found=Counter(kind for _, _, kind in finds))


def query_digest(text: str) -> str:
    """SHA-256 of the text in Unicode NFKC, with one space between words, case folded: 32 hexadecimal digits.

    Whoever guesses the text can check the guess.
    """
    words = unicodedata.normalize("NFKC", text).split()
    return hashlib.sha256(" ".join(words).casefold().encode("utf-8", "surrogatepass")).hexdigest()[:32]


def stored_query(text: str, how: QueryText, redactor: Redactor | None, gold_ids: Mapping[str, str]) -> StoredQuery:
    """The query as the log keeps it: with `redacted`, and no redactor or one that fails, the hash only.

    Args:
        text: As the user asked it.
        how: What the experiment says (`live.query_text`).
        redactor: Needed for `redacted`.
        gold_ids: Ids of the gold queries by `query_digest` of their texts.
    """
    kept = _kept(text, how, redactor)
    digest = query_digest(text)
    return StoredQuery(text=kept, digest=digest, stored="hash" if kept is None else how, gold_query_id=gold_ids.get(digest))


def _kept(text: str, how: QueryText, redactor: Redactor | None) -> str | None:
    if how == "full":
        return text
    if how == "hash" or redactor is None:
        return None
    try:
        return redactor.redact(text).text
    except RedactionError:
        return None


def _visible(text: str) -> str:
    """In NFKC and without characters that show nothing (Unicode's Cf), with which an address could be hidden from the patterns."""
    return "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")


def _visible_runs(text: str) -> tuple[str, list[tuple[int, int]]]:
    """`_visible(text)`, and for each of its characters the run of the text that it was made from.

    A character with the marks that combine with it is normalised by itself.

    Raises:
        ValueError: The text as a whole is normalised to something else (letters that were typed in parts).
    """
    starts = [at for at, char in enumerate(text) if at == 0 or not unicodedata.combining(char)]
    pieces, runs = [], []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        piece = _visible(text[start:end])
        pieces.append(piece)
        runs += [(start, end)] * len(piece)
    plain = "".join(pieces)
    if plain != _visible(text):
        raise ValueError("its characters can't be told apart")
    return plain, runs


def _merged(results: Sequence["RecognizerResult"]) -> list[tuple[int, int, str]]:
    """Start, end and kind of the finds, in order; what overlaps is one find, of the kind that covers most."""
    merged: list[tuple[int, int, str]] = []
    widest = 0
    for result in sorted(results, key=_rank):
        width = result.end - result.start
        if not merged or result.start >= merged[-1][1]:
            merged.append((result.start, result.end, result.entity_type))
            widest = width
            continue
        start, end, kind = merged[-1]
        merged[-1] = (start, max(end, result.end), result.entity_type if width > widest else kind)
        widest = max(widest, width)
    return merged


def _rank(result: "RecognizerResult") -> tuple[int, int, bool, float, str]:
    """By place; of two finds in the same place the surer one first, and an address with a password is a URL before it is e-mail."""
    return result.start, -result.end, result.entity_type == "EMAIL_ADDRESS", -result.score, result.entity_type


def _analyzer(model: str | None) -> tuple["AnalyzerEngine", float]:
    """Presidio with the recognisers named above, and the seconds that it gives one pattern.

    Raises:
        ImportError: Presidio is not installed.
        OSError, ValueError: spaCy can't load the model.
    """
    from presidio_analyzer import (
        AnalyzerEngine,
        EntityRecognizer,
        Pattern,
        PatternRecognizer,
        RecognizerRegistry,
        pattern_recognizer,
        predefined_recognizers,
    )
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    _quiet()
    engine = SpacyNlpEngine()
    engine.nlp = {"en": _pipeline(model)}  # type: ignore[assignment]  # as its own `load` does, which would download a model
    recognizers: list[EntityRecognizer] = [getattr(predefined_recognizers, f"{name}Recognizer")() for name in (*_BY_FORM, *_BY_COUNTRY)]
    for kind, regexes in _OURS.items():
        patterns = [Pattern(name=f"{kind} {number}", regex=regex, score=1.0) for number, regex in enumerate(regexes)]
        recognizers.append(PatternRecognizer(supported_entity=kind, patterns=patterns))
    if model is not None:
        recognizers.append(predefined_recognizers.SpacyRecognizer(supported_entities=list(_NAMES)))
    analyzer = AnalyzerEngine(registry=RecognizerRegistry(recognizers=recognizers), nlp_engine=engine)
    return analyzer, pattern_recognizer.REGEX_TIMEOUT_SECONDS


def _pipeline(model: str | None) -> Any:
    """A spaCy pipeline that gives each word a lemma: Presidio looks for supporting words among the lemmas.

    Raises:
        ImportError: spaCy is not installed.
        OSError, ValueError: The model is not installed, or can't be loaded.
    """
    import spacy
    from spacy.language import Language

    if model is not None:
        if not (spacy.util.is_package(model) or Path(model).is_dir()):
            raise OSError("it is not installed, and nothing is downloaded")
        pipeline = spacy.load(model)
    else:
        pipeline = spacy.blank("en")
    Language.component("ragtrial_lemmas", func=_with_lemmas)
    pipeline.add_pipe("ragtrial_lemmas", last=True)
    return pipeline


def _with_lemmas(doc: Any) -> Any:
    for token in doc:
        token.lemma_ = token.lemma_ or token.lower_
    return doc


def _quiet() -> None:
    """Presidio logs words of the text at level DEBUG."""
    logger = logging.getLogger("presidio-analyzer")
    logger.setLevel(max(logger.level, logging.WARNING))
