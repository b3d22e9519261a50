"""Registered models: versions of fine-tuned models with their lineage, each a sentence-transformers folder."""

import json
import os
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

LINEAGE = "ragtrial.json"
TRAINING_TEXTS = "training-texts.txt"
LEFTOVER_HOURS = 1.0
"""A half-written version of this age was left by a killed process; a younger one may be a registration going on."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"v([1-9][0-9]*)")
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

    def list(self) -> tuple[RegisteredModel, ...]:
        """All models, by name, then version.

        Raises:
            ModelError: A version's record can't be read.
        """
        return tuple(_read(folder) for folder in _versions(self._folder))

    def get(self, reference: str, *, verify: bool = False) -> RegisteredModel:
        """The model that `NAME`, `NAME@VERSION` or `registry:NAME@VERSION` means; without a version the latest.

        Args:
            reference: As written in an experiment.
            verify: Compare the folder's content with the checksum of its registration.

        Raises:
            ModelError: There is none, or its content was changed since.
        """
        reference = reference.removeprefix("registry:")
        name, _, version = reference.partition("@")
        versions = [folder for folder in _versions(self._folder) if folder.parent.name == name and version in ("", folder.name)]
        if not versions:
            have = ", ".join(f"{folder.parent.name}@{folder.name}" for folder in _versions(self._folder)) or "nothing"
            raise ModelError(
                f"no model {reference!r} in the registry {str(self._folder)!r}, which holds {have}: "
                "ragtrial train EXPERIMENT.yaml makes it where the file has a 'training' section"
            )
        model = _read(versions[-1])
        if verify and content_hash(model.folder) != model.lineage.get("checksum"):
            raise ModelError(
                f"model {model.name}@{model.version} in {str(model.folder)!r} is not what was registered (its checksum differs): "
                "train it again, or take another version"
            )
        return model

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
        checksum = content_hash(part)
        while True:
            taken = [int(folder.name[1:]) for folder in home.iterdir() if _VERSION.fullmatch(folder.name)]
            version = f"v{1 + max(taken, default=0)}"
            record = {"name": home.name, "version": version, **lineage, "checksum": checksum}
            (part / LINEAGE).write_text(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
            for path in [*part.rglob("*"), part]:
                _sync(path)
            try:
                part.rename(home / version)
            except OSError:
                if not (home / version).exists():
                    raise
                continue
            _sync(home)
            return _read(home / version)


def check_name(name: str) -> None:
    """Refuse what can't be a model's name.

    Raises:
        InputError: With what a name may hold.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"model name {name!r}: use letters, digits, '-', '_' and '.', beginning with a letter or digit")


def _versions(registry: Path) -> list[Path]:
    """Folders of the versions that are whole, by name, then version."""
    found = [path.parent for path in registry.glob(f"*/v*/{LINEAGE}")]
    numbered = [(path.parent.name, int(match[1]), path) for path in found if (match := _VERSION.fullmatch(path.name))]
    return [path for _, _, path in sorted(numbered)]


def _clean(home: Path) -> None:
    """Remove what a killed registration left behind."""
    for leftover in home.glob(".part-*"):
        if time.time() - leftover.stat().st_mtime > LEFTOVER_HOURS * 3600:
            shutil.rmtree(leftover, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, written to disk, where the system does that through a read-only descriptor."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(folder: Path) -> RegisteredModel:
    try:
        lineage = json.loads((folder / LINEAGE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model folder {str(folder)!r} has no readable {LINEAGE}: {error}; remove the folder and train again") from error
    if not isinstance(lineage, dict):
        raise ModelError(f"model folder {str(folder)!r}: {LINEAGE} is no JSON object; remove the folder and train again")
    return RegisteredModel(name=folder.parent.name, version=folder.name, folder=folder, lineage=lineage)
