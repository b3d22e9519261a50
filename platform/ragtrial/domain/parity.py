"""Only what is under test may differ between the arms (law 2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragtrial.domain.experiment import Aspect
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.retriever import NOT_KNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Everything that one arm ran under, by aspect: each a flat mapping of setting to value."""

    embedding: Mapping[str, str]
    chunking: Mapping[str, str]
    retrieval: Mapping[str, str]
    generation: Mapping[str, str]
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityCertificate:
    """Says that the arms ran under the same conditions, or what differed.

    Attributes:
        ok: Nothing differs that wasn't declared as the experiment's subject.
        digest: Digest of all that is held equal; None where it isn't.
        declared: Declared differences, as `aspect.setting: 'a' / 'b'`.
        undeclared: Differences that refuse the verdict.
    """

    ok: bool
    digest: str | None
    declared: tuple[str, ...] = field(default=())
    undeclared: tuple[str, ...] = field(default=())


def certify(control: Conditions, treatment: Conditions, *, subject: tuple[Aspect, ...]) -> ParityCertificate:
    """Compare two arms' conditions, setting by setting; what is not known is equal to nothing, not even to what is not known."""
    equal: dict[str, str] = {}
    declared: list[str] = []
    undeclared: list[str] = []
    for aspect in ("data", "chunking", "embedding", "retrieval", "generation"):
        left, right = getattr(control, aspect), getattr(treatment, aspect)
        for setting in sorted(left.keys() | right.keys()):
            a, b = left.get(setting), right.get(setting)
            if a == b and a != NOT_KNOWN:
                equal[f"{aspect}.{setting}"] = str(a)
            else:
                (declared if aspect in subject else undeclared).append(f"{aspect}.{setting}: {a!r} / {b!r}")
    ok = not undeclared
    return ParityCertificate(ok=ok, digest=digest(equal) if ok else None, declared=tuple(declared), undeclared=tuple(undeclared))
