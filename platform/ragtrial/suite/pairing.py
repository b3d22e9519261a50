"""Training pairs from whatever a team has: gathered by source, freed of what touches the gold set, and written as one file."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.pair import Pair
from ragtrial.errors import InputError, NoPairError
from ragtrial.finetuning.augmenting import augmented
from ragtrial.finetuning.gathering import Gathered, tidied
from ragtrial.formats.files import write_lines
from ragtrial.formats.pairs import write_pairs
from ragtrial.settings import Settings
from ragtrial.suite.corpus_licences import Licences
from ragtrial.suite.gold_leaks import GOLD_NEGATIVE, Gold
from ragtrial.suite.pair_material import TEST_DOCUMENT, Material, corpus_path, read_material
from ragtrial.suite.pair_sources import Context, VoteOptions, gather
from ragtrial.suite.pair_writing import Writing, estimate_writing
from ragtrial.suite.preparing import Prepared, prepare

Source = Literal["judgments", "questions", "titles", "headings", "definitions", "synthetic", "votes", "curated"]
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What pairs are made from, and how.

    Attributes:
        sources: Where from; of equal pairs the one of the first source stays.
        corpus: A folder that `ragtrial prepare` made; None: the training data's corpus, or else the experiment's.
        questions: Tables of questions with answers.
        writing: For `synthetic`.
        votes: For `votes`.
        augment: Also say rare terms otherwise.
        seed: Of the sample of passages.
    """

    sources: tuple[Source, ...]
    corpus: Path | None = None
    questions: tuple[Path, ...] = ()
    writing: Writing = field(default_factory=Writing)
    votes: VoteOptions = field(default_factory=VoteOptions)
    augment: bool = False
    seed: int = 42


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A pair that touches the gold set, and how."""

    pair: Pair
    reason: str


@dataclass(frozen=True, kw_only=True)
class Built:
    """What was written.

    Attributes:
        output: The file.
        corpus: The corpus that pairs were made from.
        n_test: Its documents that are for testing, of which no pair was made.
        pairs: As written.
        sources: What each source gave, before anything was refused.
        refused: Pairs that touch the gold set.
        left_out: What fell when all were put together, by reason.
    """

    output: Path
    corpus: Path
    n_test: int
    pairs: tuple[Pair, ...]
    sources: Mapping[str, Gathered]
    refused: tuple[Refused, ...]
    left_out: Mapping[str, int]

    @property
    def by_origin(self) -> dict[str, int]:
        """Pairs written, by origin."""
        return dict(Counter(pair.origin for pair in self.pairs))

    @property
    def counts_refused(self) -> dict[str, int]:
        """By reason."""
        return dict(Counter(each.reason for each in self.refused))


def sources_of(texts: Sequence[str]) -> tuple[Source, ...]:
    """The sources that options name, each once, in their order; several may stand in one text with commas between.

    Raises:
        InputError: One that does not exist, or none.
    """
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    known: dict[str, Source] = {source: source for source in SOURCES}
    for name in names:
        if name not in known:
            raise InputError(f"--from {name!r} is no source of pairs: give some of {', '.join(SOURCES)}")
    if not names:
        raise InputError(f"--from names no source: give some of {', '.join(SOURCES)}")
    return tuple(dict.fromkeys(known[name] for name in names))


def build_pairs(
    path: Path,
    output: Path,
    wanted: Wanted,
    *,
    settings: Settings,
    say: Callable[[str], None] = lambda _text: None,
    progress: Progress = no_progress,
) -> Built:
    """Gather pairs from all sources, and write those that may be trained on.

    Gold never leaks: a pair that touches the experiment's gold set is refused, and so is a negative that is relevant there. Nothing is written
    before all of it is there; what an LLM was paid for is in the cache of calls, so that the same command goes on.

    Args:
        path: The experiment file.
        output: The file to write.
        wanted: Sources and settings.
        settings: The environment.
        say: Told what slows calls down.
        progress: Told what takes long.

    Raises:
        InputError: Files are wrong, or a source lacks what it needs.
        NoPairError: No pair is left.
        StoppedError: Calls to an LLM had to stop.
    """
    prepared, material, gold = _read(path, wanted, settings)
    own = corpus_path(prepared.experiment.data, prepared.file.folder)
    licences = Licences.of(prepared, {material.path: material.corpus, own: gold.corpus})  # a broken card is told before an LLM is paid
    context = Context(prepared=prepared, material=material, gold=gold, seed=wanted.seed, say=say, progress=progress)
    sources: dict[str, Gathered] = {
        source: gather(source, context, questions=wanted.questions, writing=wanted.writing, votes=wanted.votes) for source in wanted.sources
    }
    left_out: Counter[str] = Counter()
    refused: list[Refused] = []
    found = licences.noted(material.placed(pair) for gathered in sources.values() for pair in gathered.pairs)
    pairs = _without_leaks(found, context, refused, left_out)
    if wanted.augment:
        more = augmented(pairs, material.passages)
        sources["augmented"] = more
        pairs = _without_leaks([*pairs, *licences.noted(more.pairs)], context, refused, left_out)
    if not pairs:
        why = Counter({**left_out, **Counter(each.reason for each in refused)})
        said = "; ".join(f"{n:,} left out: {reason}" for reason, n in why.items() if n) or "the sources gave none"
        raise NoPairError(f"no pair is left to write to {str(output)!r}: {said}")
    write_pairs(output, pairs)
    return Built(
        output=output,
        corpus=material.path,
        n_test=material.n_test,
        pairs=tuple(pairs),
        sources=sources,
        refused=tuple(refused),
        left_out={reason: n for reason, n in left_out.items() if n},
    )


def write_refused(path: Path, built: Built) -> None:
    """Write the refused pairs as JSON Lines, each with its reason; an empty file where there are none.

    Raises:
        InputError: The folder can't be written to.
    """
    write_lines(
        path,
        (
            json.dumps(
                {
                    "reason": each.reason,
                    "query": each.pair.query,
                    "passage_id": each.pair.passage_id,
                    "document_id": each.pair.document_id,
                    "origin": each.pair.origin,
                },
                ensure_ascii=False,
            )
            for each in built.refused
        ),
    )


def plan_writing(path: Path, wanted: Wanted, *, settings: Settings) -> tuple[str, ...]:
    """What synthetic queries would take, in lines; nothing is asked or written.

    Raises:
        InputError: Files are wrong, or no LLM is named.
    """
    if "synthetic" not in wanted.sources:
        return ("LLM calls: none, for 'synthetic' is not among the sources",)
    prepared, material, gold = _read(path, wanted, settings)
    return estimate_writing(prepared, material, gold, wanted.writing, seed=wanted.seed)


def _read(path: Path, wanted: Wanted, settings: Settings) -> tuple[Prepared, Material, Gold]:
    prepared = prepare(path, settings=settings)
    return prepared, read_material(prepared, wanted.corpus), Gold.of(prepared)


def _without_leaks(pairs: Sequence[Pair], context: Context, refused: list[Refused], left_out: Counter[str]) -> list[Pair]:
    """The pairs that may be used, tidied; what may not is noted."""
    usable = [pair for pair in pairs if pair.split != "test"]
    left_out[TEST_DOCUMENT] += len(pairs) - len(usable)
    leaks = context.gold.leaks(usable, context.material.corpus)
    refused += [Refused(pair=usable[place], reason=reason) for place, reason in sorted(leaks.items())]
    clean = tidied([pair for place, pair in enumerate(usable) if place not in leaks])
    left_out.update(clean.left_out)
    kept, withheld = context.gold.without_touched_negatives(clean.pairs)
    left_out[GOLD_NEGATIVE] += withheld
    return kept
