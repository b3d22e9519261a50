"""Registered models: versions of fine-tuned models with their lineage, each a sentence-transformers folder."""

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtrial.embedding.sentence_transformers import content_hash
from ragtrial.errors import InputError, ModelError, SetupError

LINEAGE = "ragtrial.json"
TRAINING_TEXTS = "training-texts.txt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"v([1-9][0-9]*)")


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
        """SHA-256 digests of the normalised queries and passages that it was trained on."""
        path = self.folder / TRAINING_TEXTS
        return frozenset(path.read_text("utf-8").split()) if path.is_file() else frozenset()


class Registry:
    """A folder of models: `<folder>/<name>/<version>/`. A version is there whole or not at all.

    Args:
        folder: May not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self) -> tuple[RegisteredModel, ...]:
        """All models, by name, then version."""
        found = []
        for path in sorted(self._folder.glob(f"*/v*/{LINEAGE}")):
            version = _VERSION.fullmatch(path.parent.name)
            if version is not None:
                found.append(((path.parent.parent.name, int(version[1])), _read(path.parent)))
        return tuple(model for _, model in sorted(found, key=lambda item: item[0]))

    def get(self, reference: str, *, verify: bool = False) -> RegisteredModel:
        """The model that `NAME`, `NAME@VERSION` or `registry:NAME@VERSION` means; without a version the latest.

        Args:
            reference: As written in an experiment.
            verify: Compare the folder's content with the checksum of its registration.

        Raises:
            ModelError: There is none, or its content was changed since.
        """
        name, _, version = reference.removeprefix("registry:").partition("@")
        versions = [model for model in self.list() if model.name == name and version in ("", model.version)]
        if not versions:
            have = ", ".join(f"{model.name}@{model.version}" for model in self.list()) or "nothing"
            raise ModelError(
                f"no model {reference.removeprefix('registry:')!r} in the registry {str(self._folder)!r}, which holds {have}: "
                "ragtrial train EXPERIMENT.yaml makes it where the file has a 'training' section"
            )
        model = versions[-1]
        if verify and content_hash(model.folder) != model.lineage.get("checksum"):
            raise ModelError(f"model {model.name}@{model.version} was changed since it was registered: its checksum does not match; train it again")
        return model

    def register(self, name: str, *, save: Callable[[Path], None], lineage: Mapping[str, Any], training_texts: frozenset[str]) -> RegisteredModel:
        """Add the next version of `name`.

        Args:
            name: Letters, digits, `-`, `_` and `.`.
            save: Writes the model into the folder it is given.
            lineage: What is known of how it was made; name, version and checksum are added.
            training_texts: From `leakage.text_digest`.

        Raises:
            InputError: The name can't be a folder's.
            SetupError: The registry can't be written.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f"model name {name!r}: use letters, digits, '-', '_' and '.', beginning with a letter or digit")
        home = self._folder / name
        part = home / f".part-{uuid.uuid4().hex[:8]}"
        try:
            self._clean(home)
            part.mkdir(parents=True)
            save(part)
            (part / TRAINING_TEXTS).write_text("\n".join(sorted(training_texts)) + "\n", "utf-8")
            version = f"v{1 + max((int(m.version[1:]) for m in self.list() if m.name == name), default=0)}"
            record = {"name": name, "version": version, **lineage, "checksum": content_hash(part)}
            with (part / LINEAGE).open("w", encoding="utf-8") as file:
                json.dump(record, file, indent=2, ensure_ascii=False, default=str)
                file.flush()
                os.fsync(file.fileno())
            part.rename(home / version)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            raise SetupError(f"model registry {str(self._folder)!r} can't be written ({error.strerror}): give a writable folder in stores.registry") from error
        return _read(home / version)

    def _clean(self, home: Path) -> None:
        """What a killed registration left behind."""
        for leftover in home.glob(".part-*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _read(folder: Path) -> RegisteredModel:
    try:
        lineage = json.loads((folder / LINEAGE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model folder {str(folder)!r} has no readable {LINEAGE}: {error}; remove the folder and train again") from error
    return RegisteredModel(name=folder.parent.name, version=folder.name, folder=folder, lineage=lineage)
