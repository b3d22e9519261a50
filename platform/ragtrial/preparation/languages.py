"""The language of a document, by py3langid."""

import functools
from typing import Any

from ragtrial.errors import MissingExtraError

UNKNOWN = "und"
"""What ISO 639 calls a language that was not determined."""

_FEWEST_LETTERS = 20
_LEAST_SURE = 0.5
_READ = 5_000


def language_of(text: str) -> str:
    """ISO 639-1 code of the language; `und` for texts too short, or about which the classifier is not sure.

    Raises:
        MissingExtraError: py3langid is not installed.
    """
    part = text[:_READ]
    if sum(char.isalpha() for char in part) < _FEWEST_LETTERS:
        return UNKNOWN
    language, sure = _identifier().classify(part)
    return str(language) if sure >= _LEAST_SURE else UNKNOWN


@functools.cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise MissingExtraError(package="py3langid", extra="prepare", purpose="telling languages apart") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
