"""Registered models: versions of fine-tuned models with their lineage, each a sentence-transformers folder.

What changes about them (aliases, notes, history) is in `registry_records`, beside the versions.
"""

import dataclasses
import datetime as dt
import functools
import hashlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtrial.embedding.sentence_transformers import content_hash
from ragtrial.errors import InputError, ModelError, SetupError
from ragtrial.finetuning.registry_records import ALIASES, Note, Records, change_records, read_records, sync

LINEAGE = "ragtrial.json"
TRAINING_TEXTS = "training-texts.txt"
LEFTOVER_HOURS = 1.0
"""A half-written version of this age was left by a killed process; a younger one may be a registration going on."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"v([1-9][0-9]*)")
_WEIGHTS = ("pytorch_model", "adapter_model", "model", "consolidated")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """One version of a model.

    Attributes:
        name: As arms ask for it: `registry:NAME`.
        version: `v1`, `v2`, ...
        folder: A sentence-transformers folder.
        lineage: What it was made from and how: base, data digest, settings, pairs, metrics, curve, environment, checksum.
    """

    name: str
    version: str
    folder: Path
    lineage: Mapping[str, Any]

    @property
    def reference(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"

    @property
    def revision(self) -> str:
        """What an embedder of this model calls its revision."""
        return str(self.lineage.get("checksum", ""))[:16]

    def training_texts(self) -> frozenset[str]:
        """SHA-256 digests of the normalised queries and passages that it was trained on; empty where there is no record of them."""
        path = self.folder / TRAINING_TEXTS
        return frozenset(path.read_text("utf-8").split()) if path.is_file() else frozenset()


class Registry:
    """A folder of models: `<folder>/<name>/<version>/`. A version is there whole or not at all, and never changes.

    Args:
        folder: May not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where the models are."""
        return self._folder

    def list(self) -> tuple[RegisteredModel, ...]:
        """All models, by name, then version.

        Raises:
            ModelError: A version's record can't be read.
        """
        return tuple(_read(folder) for folder in _versions(self._folder))

    def get(self, reference: str, *, verify: bool = False) -> RegisteredModel:
        """The model that `NAME`, `NAME@VERSION`, `NAME@ALIAS` or `registry:NAME@VERSION` means; without a version the latest.

        Args:
            reference: As written in an experiment; aliases are `candidate` and `production`.
            verify: Compare the folder's content with the checksums of its registration; a content that was hashed before by this process
                and whose files have the same times and sizes is not hashed again.

        Raises:
            ModelError: There is none, it was deleted, the alias is not set, or its content was changed since.
        """
        name, version = self._asked(reference)
        versions = [folder for folder in _versions(self._folder, name) if version in ("", folder.name)]
        if not versions:
            self._refuse_deleted(name, version)
            have = ", ".join(f"{folder.parent.name}@{folder.name}" for folder in _versions(self._folder)) or "nothing"
            raise ModelError(
                f"no model {reference.removeprefix('registry:')!r} in the registry {str(self._folder)!r}, which holds {have}: "
                "ragtrial train EXPERIMENT.yaml makes it where the file has a 'training' section; an experiment's registry lies beside its file "
                "(--experiment EXPERIMENT.yaml)"
            )
        model = _read(versions[-1])
        if verify:
            check_content(model)
        return model

    def records(self, name: str) -> Records:
        """Aliases, archive, promotions, history and notes of a name; empty where there are none.

        Raises:
            InputError: The name can't be a folder's.
            ModelError: They can't be read.
        """
        check_name(name)
        return read_records(self.home(name))

    def home(self, name: str) -> Path:
        """The folder of a name's versions."""
        return self._folder / name

    def names(self) -> tuple[str, ...]:
        """Names that have a version, or had one."""
        homes = {folder.parent.name for folder in _versions(self._folder)}
        return tuple(sorted(homes | {path.parent.name for path in self._folder.glob("*/records.json")}))

    def note(self, reference: str, *, kind: str, record: Mapping[str, Any]) -> None:
        """Write down what was found of a version: an evaluation's verdict, intrinsic results, a licence.

        The same `kind` with the same `record["id"]` again takes the place of the earlier one; without an `id` each is kept.

        Args:
            reference: As for `get`; an alias or a bare name means the version that it means now.
            kind: `evaluation`, `intrinsic`, ...
            record: JSON values.

        Raises:
            ModelError: There is no such version.
            SetupError: The registry can't be written.
        """
        model = self.get(reference)
        new = Note(version=model.version, kind=kind, at=now(), record=dict(record))

        def is_replaced(old: Note) -> bool:
            same = (old.version, old.kind) == (new.version, new.kind)
            return same and "id" in new.record and old.record.get("id") == new.record["id"]

        def noted(records: Records) -> Records:
            return dataclasses.replace(records, notes=(*(old for old in records.notes if not is_replaced(old)), new))

        change_records(self.home(model.name), noted)

    def notes(self, reference: str, kind: str | None = None) -> tuple[Note, ...]:
        """What was noted of a version, oldest first; of one kind if asked. A deleted version keeps its notes.

        Raises:
            ModelError: There is no such version, and never was.
        """
        name, version = self._asked(reference)
        records = self.records(name)
        if version not in records.deleted:
            version = self.get(reference).version
        return tuple(note for note in records.notes if note.version == version and kind in (None, note.kind))

    def lineage(self, reference: str) -> Mapping[str, Any]:
        """What a version was made from and how; of a deleted one too.

        Raises:
            ModelError: There is no such version, and never was.
        """
        name, version = self._asked(reference)
        deleted = self.records(name).deleted if _NAME.fullmatch(name) else {}
        return deleted[version] if version in deleted else self.get(reference).lineage

    def _asked(self, reference: str) -> tuple[str, str]:
        """Name and version (empty: the latest) of a reference, its alias looked up."""
        name, _, version = reference.removeprefix("registry:").partition("@")
        if version not in ALIASES or not _NAME.fullmatch(name) or not self.home(name).is_dir():
            return name, version
        aliases = self.records(name).aliases
        if version not in aliases:
            set_by = "ragtrial models promote" if version == "production" else "ragtrial models alias"
            raise ModelError(f"model {name!r} has no version with the alias {version!r} (registry {str(self._folder)!r}): {set_by} sets it")
        return name, aliases[version]

    def _refuse_deleted(self, name: str, version: str) -> None:
        deleted = self.records(name).deleted if _NAME.fullmatch(name) else {}
        if version in deleted:
            raise ModelError(
                f"model {name}@{version} was deleted: its lineage is kept (ragtrial models show {name}@{version}), its weights are not; "
                "take another version, or train it again"
            )

    def register(
        self, name: str, *, save: Callable[[Path], None], lineage: Mapping[str, Any], training_texts: frozenset[str]
    ) -> RegisteredModel:
        """Add the next version of `name`: written beside the others, synced to disk, then renamed.

        Args:
            name: Letters, digits, `-`, `_` and `.`.
            save: Writes the model into the folder it is given; safetensors only.
            lineage: What is known of how it was made, as JSON values; name, version and checksum are added.
            training_texts: From `leakage.text_digest`.

        Raises:
            InputError: The name can't be a folder's.
            ModelError: `save` wrote a pickle, which runs code when it is loaded.
            SetupError: The registry can't be written.
        """
        check_name(name)
        home = self._folder / name
        part = home / f".part-{uuid.uuid4().hex[:8]}"
        try:
            _clean(home)
            part.mkdir(parents=True)
            save(part)
            pickles = sorted(path.name for path in part.rglob("*") if path.suffix in _PICKLES)
            if pickles:
                raise ModelError(
                    f"model {name!r} was saved with the pickle {pickles[0]!r}, which runs code when it is loaded: use safetensors"
                )
            (part / TRAINING_TEXTS).write_text("".join(f"{text}\n" for text in sorted(training_texts)), "utf-8")
            return self._publish(part, home, lineage)
        except OSError as error:
            raise SetupError(
                f"model registry {str(self._folder)!r} can't be written ({error.strerror or error}): give a writable folder in stores.registry"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _publish(self, part: Path, home: Path, lineage: Mapping[str, Any]) -> RegisteredModel:
        """Rename the written folder to the next free version; another process may take a number first."""
        checksum, files = content_hash(part), _file_hashes(part)
        while True:
            used = {*(folder.name for folder in home.iterdir()), *read_records(home).deleted}
            taken = [int(found[1]) for name in used if (found := _VERSION.fullmatch(name))]
            version = f"v{1 + max(taken, default=0)}"
            record = {"name": home.name, "version": version, **lineage, "checksum": checksum, "files": files}
            (part / LINEAGE).write_text(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
            for path in [*part.rglob("*"), part]:
                sync(path)
            try:
                part.rename(home / version)
            except OSError:
                if not (home / version).exists():
                    raise
                continue
            sync(home)
            return _read(home / version)


def unsafe_weights(folder: Path) -> tuple[str, ...]:
    """Weights of a model that would be read out of a pickle, because no safetensors file stands beside them, by their paths in the folder."""
    weights = (path for path in folder.rglob("*") if path.suffix in _PICKLES and path.name.startswith(_WEIGHTS) and path.is_file())
    return tuple(sorted(path.relative_to(folder).as_posix() for path in weights if not any(path.parent.glob("*.safetensors"))))


def check_content(model: RegisteredModel) -> None:
    """Whether a version's files are those that were registered.

    Raises:
        ModelError: They are not: which differ, as far as the registration tells.
    """
    files = {path.relative_to(model.folder).as_posix(): path for path in _files(model.folder)}
    stamp = tuple((name, *_stamp(path)) for name, path in files.items())
    checksum, hashes = _hashed(model.folder, stamp)
    registered = model.lineage.get("files")
    known = registered if isinstance(registered, Mapping) else hashes
    changed = sorted(name for name in known.keys() | hashes.keys() if known.get(name) != hashes.get(name))
    if checksum == model.lineage.get("checksum") and not changed:
        return
    which = f": {', '.join(changed)}" if changed else ""
    raise ModelError(
        f"model {model.reference} in {str(model.folder)!r} is not what was registered (its checksum differs{which}): it is not loaded, for "
        "its vectors would not be those that were evaluated; restore the folder from a copy, take another version, or train it again"
    )


@functools.lru_cache(maxsize=64)
def _hashed(folder: Path, stamp: tuple[tuple[str, int, int, int], ...]) -> tuple[str, dict[str, str]]:
    """Checksum of a folder and of each file, once for each state of the files in this process: 90 MB take about 0.1 s."""
    del stamp
    return content_hash(folder), _file_hashes(folder)


def _stamp(path: Path) -> tuple[int, int, int]:
    """Times and size; the time of the last change of the inode is not the user's to set."""
    found = path.stat()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / LINEAGE)


def _file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the record, by its path in the folder."""
    hashes = {}
    for path in _files(folder):
        with path.open("rb") as file:
            hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def check_name(name: str) -> None:
    """Refuse what can't be a model's name.

    Raises:
        InputError: With what a name may hold.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"model name {name!r}: use letters, digits, '-', '_' and '.', beginning with a letter or digit")


def _versions(registry: Path, name: str | None = None) -> list[Path]:
    """Folders of the versions that are whole and not deleted, by name, then version; of one name if asked."""
    homes = registry.glob("*") if name is None else [registry / name] if _NAME.fullmatch(name) else []
    found = [path.parent for home in homes for path in home.glob(f"v*/{LINEAGE}")]
    numbered = [(path.parent.name, int(match[1]), path) for path in found if (match := _VERSION.fullmatch(path.name))]
    buried = {home: read_records(home).deleted for home in {path.parent for _, _, path in numbered}}
    return [path for _, _, path in sorted(numbered) if path.name not in buried[path.parent]]


def _clean(home: Path) -> None:
    """Remove what a killed registration or deletion left behind."""
    for version in read_records(home).deleted:
        shutil.rmtree(home / version, ignore_errors=True)
    for leftover in home.glob(".part-*"):
        if time.time() - leftover.stat().st_mtime > LEFTOVER_HOURS * 3600:
            shutil.rmtree(leftover, ignore_errors=True)


def _read(folder: Path) -> RegisteredModel:
    try:
        lineage = json.loads((folder / LINEAGE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model folder {str(folder)!r} has no readable {LINEAGE}: {error}; remove the folder and train again") from error
    if not isinstance(lineage, dict):
        raise ModelError(f"model folder {str(folder)!r}: {LINEAGE} is no JSON object; remove the folder and train again")
    return RegisteredModel(name=folder.parent.name, version=folder.name, folder=folder, lineage=lineage)
