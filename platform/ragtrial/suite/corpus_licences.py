"""Which corpora of an experiment have a licence on their data cards, and the pairs whose passages are theirs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ragtrial.domain.corpus import Corpus
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.leakage import part_of
from ragtrial.suite.data_licences import LICENCE, licence_beside
from ragtrial.suite.pair_material import corpus_path
from ragtrial.suite.preparing import Prepared, load


@dataclass(frozen=True, kw_only=True)
class Licences:
    """The corpora that have a licence on their data cards.

    Attributes:
        corpora: Each with its licence; a passage of several has that of the first.
    """

    corpora: Sequence[tuple[str, Corpus]]

    @classmethod
    def of(cls, prepared: Prepared, known: Mapping[Path, Corpus]) -> "Licences":
        """Those of an experiment: what is known already, its own corpus, and that of its training data.

        Args:
            prepared: The experiment.
            known: Corpora that were read, by their files; they go first.

        Raises:
            InputError: A card is broken, or the training data are.
        """
        experiment, folder = prepared.experiment, prepared.file.folder
        specs = [experiment.data, *([] if experiment.training is None or experiment.training.data is None else [experiment.training.data])]
        paths = {**dict.fromkeys(known), **{corpus_path(spec, folder): spec for spec in specs}}
        found = []
        for path, spec in paths.items():
            licence = licence_beside(path)
            if licence is not None:
                corpus = known[path] if path in known or spec is None else load(spec, prepared.file)[0]
                found.append((licence, corpus))
        return cls(corpora=found)

    def noted(self, pairs: Iterable[Pair]) -> list[Pair]:
        """The pairs, those whose passage is of such a corpus with its licence in their provenance; a pair that has one keeps it."""
        return [self._noted(pair) for pair in pairs]

    def _noted(self, pair: Pair) -> Pair:
        if LICENCE in pair.provenance:
            return pair
        licence = next((licence for licence, corpus in self.corpora if _is_of(pair, corpus)), None)
        return pair if licence is None else replace(pair, provenance={**pair.provenance, LICENCE: licence})


def _is_of(pair: Pair, corpus: Corpus) -> bool:
    own = corpus.by_id.get(pair.passage_id)
    return own is not None and part_of(pair, own)
