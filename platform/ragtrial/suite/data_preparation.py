"""From raw files to a clean corpus with splits and a data card, in a folder that is written whole or not at all."""

import hashlib
import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from ragtrial import __version__
from ragtrial.contracts import Progress
from ragtrial.domain.data_card import DataCard, GoldLeaks
from ragtrial.domain.fingerprint import digest, digest_lines
from ragtrial.domain.preparation import PreparationSpec
from ragtrial.errors import InputError, RedactionError, SetupError
from ragtrial.formats.files import write_lines
from ragtrial.preparation.card import card_of
from ragtrial.preparation.corpus import Assembled, assemble
from ragtrial.preparation.documents import Dropped, Kept, Worker
from ragtrial.preparation.letterheads import find_letterheads, folder_of
from ragtrial.preparation.loading import load
from ragtrial.preparation.raw import Loaded, Unread
from ragtrial.preparation.source_files import SourceFile, find_files, known_suffix, nothing_readable
from ragtrial.preparation.work import Work, same_disk_folder, work_folder
from ragtrial.preparation.writing import write_corpus
from ragtrial.redaction import Redactor
from ragtrial.settings import Settings
from ragtrial.suite.data_gold import GoldTexts
from ragtrial.suite.folders import output_folder

_LIBRARIES = (
    "presidio-analyzer",
    "spacy",
    "datasketch",
    "ftfy",
    "py3langid",
    "trafilatura",
    "lxml",
    "mammoth",
    "pypdf",
    "charset-normalizer",
    "numpy",
)
_REDACTION_S = 60.0
"""Far more than a part of a document takes: the time that a busy machine lets it wait must not decide what is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What there is to prepare, before anything is opened.

    Attributes:
        files: Files that would be read, by kind.
        megabytes: Their size.
        unread: Files that would not be, by reason.
    """

    files: Mapping[str, int]
    megabytes: float
    unread: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A prepared corpus.

    Attributes:
        folder: Where it is.
        card: What it is.
        taken_over: Documents that a killed run had done.
    """

    folder: Path
    card: DataCard
    taken_over: int


def look(sources: Sequence[Path], spec: PreparationSpec) -> Looked:
    """What would be read.

    Raises:
        InputError: A source is not there, or nothing in it can be read.
    """
    files, unread = find_files(sources, max_megabytes=spec.max_megabytes)
    if not files:
        raise nothing_readable(unread)
    kinds, reasons = Counter(file.kind for file in files), Counter(each.reason for each in unread)
    return Looked(files=dict(kinds.most_common()), megabytes=sum(file.size for file in files) / 1e6, unread=dict(reasons.most_common()))


def prepare_data(
    sources: Sequence[Path],
    output: Path,
    spec: PreparationSpec,
    *,
    settings: Settings,
    progress: Progress,
    gold: Path | None = None,
    resume: bool = False,
) -> Made:
    """Make a corpus out of raw files.

    Until it is written, what was done is kept beside the output folder, without personal data, so that a killed run can be resumed; the
    same files and settings give the same bytes.

    Args:
        sources: Folders and files.
        output: The folder to make; never one that is there.
        spec: What is to be done.
        settings: The environment.
        progress: Shows how far it is.
        gold: An experiment file, whose gold set shall not be trained on.
        resume: Take over what a killed run had done.

    Raises:
        InputError: The sources hold nothing that can be read or kept, the output folder is there, or a file of settings is wrong.
        SetupError: A package or a spaCy model is missing, or a folder can't be written to.
    """
    if output.exists():
        raise InputError(f"{str(output)!r} is there already: give another folder with --output, or remove it")
    output_folder(output)
    output = output.absolute()
    files, unread = find_files(sources, max_megabytes=spec.max_megabytes)
    if not files:
        raise nothing_readable(unread)
    texts = GoldTexts.read(gold, settings) if gold is not None else None
    with ExitStack() as stack:
        redactor = stack.enter_context(closing(_redactor(spec.model, progress))) if spec.redact else None
        work = stack.enter_context(Work(work_folder(output), resume=resume))
        worker = Worker(spec, redactor)
        results, digests = _results(files, unread, spec, worker, work, progress)
        names = [_source_name(source, spec, worker) for source in sources]
        try:
            made = assemble(results, spec, find_gold=texts.found_in if texts else None, progress=progress)
        except InputError as error:
            raise InputError(f"{error}; what was done so far is kept, and --resume takes it over") from error
        card = _write(output, made, spec, texts, name=worker.name(output.name), sources=names, files=files, digests=digests)
        work.remove()
    return Made(folder=output, card=card, taken_over=work.taken_over)


def _source_name(source: Path, spec: PreparationSpec, worker: Worker) -> str:
    """As the card says it: a file has a name there only where names of people were looked for, as files that were not read do."""
    if source.is_dir() or (spec.redact and spec.model is not None):
        return worker.name(source.resolve().name)
    return f"a file ({known_suffix(source.name) or 'of no known kind'})"


def _redactor(model: str | None, progress: Progress) -> Redactor:
    advance = progress("load what finds personal data", 1)
    try:
        redactor = Redactor(model=model, timeout_s=_REDACTION_S)
    except RedactionError as error:
        raise SetupError(f"personal data can't be looked for: {error}; or keep them with --no-redact, which the data card says") from error
    advance(1)
    return redactor


def _results(
    files: Sequence[SourceFile], unread: Sequence[Unread], spec: PreparationSpec, worker: Worker, work: Work, progress: Progress
) -> tuple[list[Kept | Dropped], dict[str, str]]:
    """Every document or why it is none, files that were not opened last; and digests of what went in."""
    how = digest([asdict(spec.tickets), spec.ids, spec.languages, spec.min_words, spec.redact, spec.model, _versions()])
    results: list[Kept | Dropped] = []
    inputs: list[str] = []
    letterheads = find_letterheads(files, progress)
    advance = progress("documents (kB read)", sum(_kilobytes(file) for file in files))
    for file in files:
        try:
            data = file.path.read_bytes()
        except OSError as error:
            results.append(worker.done(Unread(place=file.place, reason=f"can't be read: {error.strerror}")))
            continue
        inputs += [file.place, hashlib.sha256(data).hexdigest()]
        shared = letterheads.get(folder_of(file), frozenset()) if file.kind == "pdf" else frozenset()
        key = digest([how, *inputs[-2:], *sorted(shared)], length=32)
        known = work.of_file(key)
        if known is None:
            results += _of_file(load(file, data, spec.tickets, shared), file, key, worker, work, advance)
        else:
            results += known
            advance(_kilobytes(file))
    results += [worker.done(each) for each in unread]
    return results, {"sources": digest_lines(inputs, length=64)}


def _of_file(
    documents: Iterable[Loaded], file: SourceFile, key: str, worker: Worker, work: Work, advance: Callable[[int], None]
) -> list[Kept | Dropped]:
    """Its documents, one after the other; each is on disk before the next is begun."""
    loaded = list(documents)
    keys = [f"{key}-{number}" for number in range(len(loaded))]
    results, shown = [], 0
    for number, raw in enumerate(loaded):
        results.append(work.of(keys[number], partial(worker.done, raw)))
        so_far = _kilobytes(file) * (number + 1) // len(loaded)
        advance(so_far - shown)
        shown = so_far
    work.finish_file(key, keys)
    return results


def _kilobytes(file: SourceFile) -> int:
    return max(1, file.size // 1000)


def _write(
    output: Path,
    made: Assembled,
    spec: PreparationSpec,
    texts: GoldTexts | None,
    *,
    name: str,
    sources: Sequence[str],
    files: Sequence[SourceFile],
    digests: Mapping[str, str],
) -> DataCard:
    """Write all files into a folder beside the output, and rename it."""
    from ragtrial.report.data_card import as_card_html, as_card_markdown

    folder = same_disk_folder(output)
    try:
        folder.mkdir(parents=True)
        written = write_corpus(folder, made)
        card = card_of(
            made,
            spec,
            name=name,
            sources=sources,
            files=dict(sorted(Counter(file.kind for file in files).items())),
            gold=_gold_leaks(made, spec, texts),
            digests={**digests, **written},
            versions=_versions(),
        )
        write_lines(folder / "card.json", [json.dumps(asdict(card), ensure_ascii=False, indent=2)])
        write_lines(folder / "card.md", as_card_markdown(card).splitlines())
        write_lines(folder / "card.html", as_card_html(card).splitlines())
        os.replace(folder, output)  # noqa: PTH105 - refuses a folder that somebody has filled meanwhile
    except OSError as error:
        raise SetupError(f"can't write {str(output)!r}: {error.strerror}; give another folder with --output") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return card


def _gold_leaks(made: Assembled, spec: PreparationSpec, texts: GoldTexts | None) -> GoldLeaks | None:
    if texts is None:
        return None
    return GoldLeaks(
        name=texts.gold.name,
        queries=len(texts.gold.queries),
        documents=dict(sorted(Counter(made.gold.values()).items())),
        moved=made.gold_moved,
        rule=spec.gold,
        unchecked=texts.unchecked,
    )


def _versions() -> dict[str, str]:
    versions = {"ragtrial": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "not installed"
    return versions
