"""Hard negatives for a file of pairs, mined with the experiment's baseline."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import MiningSpec
from ragtrial.errors import InputError, NoPairError
from ragtrial.finetuning.leakage import normalise
from ragtrial.finetuning.mining import mine
from ragtrial.formats.experiment import load_experiment
from ragtrial.formats.pairs import read_pairs, write_pairs
from ragtrial.settings import Settings
from ragtrial.suite.corpus_licences import Licences
from ragtrial.suite.data_licences import licence_beside, with_mined_licence
from ragtrial.suite.gold_leaks import Gold
from ragtrial.suite.pair_material import baseline, corpus_path, read_material
from ragtrial.suite.preparing import load, prepare

_PER_PAIR = 3


@dataclass(frozen=True, kw_only=True)
class MinedFile:
    """What was written.

    Attributes:
        output: The file.
        pairs: As written, in the order of the file that was read.
        spec: How negatives were looked for.
        baseline: The model that looked for them.
        n_mined: Pairs that were looked at: those for training.
        n_without: Of them, those that have no negative all the same.
        n_too_near: Candidates left out because they are nearly as near as the pair's own passage.
        n_passages: Passages that negatives were looked for in.
        n_kept_out: Passages that were not: of test documents, or of documents that answer gold queries.
        refused: Pairs of the file that touch the gold set, by reason: they are not written.
        n_negatives_refused: Negatives of the file that do, and were taken out.
    """

    output: Path
    pairs: tuple[Pair, ...]
    spec: MiningSpec
    baseline: str
    n_mined: int
    n_without: int
    n_too_near: int
    n_passages: int
    n_kept_out: int
    refused: Mapping[str, int]
    n_negatives_refused: int


def mining_spec(experiment: Path, asked: Mapping[str, object]) -> MiningSpec:
    """The experiment's `training.mining` (3 negatives for each pair where it mines none), with what is asked for otherwise.

    Raises:
        InputError: The file is wrong, or a number can't be.
    """
    training = load_experiment(experiment).experiment.training
    planned = MiningSpec() if training is None else training.mining
    if not planned.per_pair:
        planned = replace(planned, per_pair=_PER_PAIR)
    try:
        return replace(planned, **asked)  # type: ignore[arg-type]  # names and types are those of the command's options
    except ValueError as error:
        raise InputError(f"mining: {error}") from error


def mine_pairs(
    pairs_path: Path,
    experiment: Path,
    output: Path,
    *,
    settings: Settings,
    spec: MiningSpec,
    corpus: Path | None = None,
    seed: int = 42,
    progress: Progress = no_progress,
) -> MinedFile:
    """Add hard negatives to the training pairs of a file.

    Negatives come from the same corpus as pairs do. Passages of test documents, and of documents that answer gold queries, are not among
    them: a model that learns to push these away would be judged by them. What the training data judge relevant for a query is none of its
    negatives. Pairs and negatives of the file that touch the gold set are left out by the rule of `ragtrial pairs build`. The licence of the
    corpus that negatives come from is noted beside that of each pair that got some.

    Args:
        pairs_path: A file of pairs.
        experiment: The experiment file.
        output: The file to write; may be the same.
        settings: The environment.
        spec: How negatives are looked for.
        corpus: A folder that `ragtrial prepare` made; None: the training data's corpus, or else the experiment's.
        seed: Of draws.
        progress: Told what takes long.

    Raises:
        InputError: The files are wrong.
        NoPairError: Every pair touches the gold set.
    """
    pairs: Sequence[Pair] = read_pairs(pairs_path)
    prepared = prepare(experiment, settings=settings)
    training = prepared.experiment.training
    material, gold_set = read_material(prepared, corpus), Gold.of(prepared)
    licence, own = licence_beside(material.path), corpus_path(prepared.experiment.data, prepared.file.folder)
    pairs = Licences.of(prepared, {material.path: material.corpus, own: gold_set.corpus}).noted(pairs)
    leaks = gold_set.leaks(pairs, material.corpus)
    refused = dict(Counter(leaks.values()))
    pairs, n_negatives = gold_set.without_touched_negatives([pair for place, pair in enumerate(pairs) if place not in leaks])
    if not pairs:
        said = "; ".join(f"{n:,} because {reason}" for reason, n in refused.items())
        raise NoPairError(f"no pair of {str(pairs_path)!r} is left to mine for, so {str(output)!r} is not written: {said}")
    allowed = gold_set.untouched(material.passages)
    relevant: dict[str, list[str]] = defaultdict(list)
    if training is not None and training.data is not None:
        judged, gold, _ = load(training.data, prepared.file)
        texts = {query.query_id: query.text for query in gold.queries}
        by_text = {normalise(each.content): each.passage_id for each in allowed}
        for judgment in gold.judgments:
            passage_id = by_text.get(normalise(judged.by_id[judgment.target_id].content))
            if judgment.grade > 0 and passage_id is not None:
                relevant[texts[judgment.query_id]].append(passage_id)
    places = [place for place, pair in enumerate(pairs) if pair.split == "train"]
    wanted = [pairs[place] for place in places]
    with baseline(prepared) as embedder:
        mined = mine(wanted, allowed, embedder=embedder, spec=spec, seed=seed, relevant=relevant, progress=progress)
        name = str(embedder.identity)
    found = dict(zip(places, with_mined_licence(wanted, mined.pairs, licence), strict=True))
    written = tuple(found.get(place, pair) for place, pair in enumerate(pairs))
    write_pairs(output, written)
    return MinedFile(
        output=output,
        pairs=written,
        spec=spec,
        baseline=name,
        n_mined=len(places),
        n_without=mined.n_without,
        n_too_near=mined.n_too_near,
        n_passages=len(allowed),
        n_kept_out=len(material.corpus.passages) - len(allowed),
        refused=refused,
        n_negatives_refused=n_negatives,
    )
