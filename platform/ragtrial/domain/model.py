"""Which embedding model, exactly."""

from dataclasses import dataclass

from ragtrial.domain.fingerprint import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Two embedders with one identity give the same vectors.

    Attributes:
        name: For people, e.g. `all-MiniLM-L6-v2` or `covidqa-minilm`.
        revision: Content hash of the weights, hub commit, or version; what makes the name exact.
        settings: Whatever else changes the vectors (prompts, truncation, precision), canonical, as `key=value` pairs.
        dimension: Length of a vector.
    """

    name: str
    revision: str
    settings: tuple[str, ...] = ()
    dimension: int

    def __str__(self) -> str:
        return f"{self.name}@{self.revision[:8]}"

    @property
    def key(self) -> str:
        """16 hexadecimal digits that name the vectors in caches and collections."""
        return digest(self)
