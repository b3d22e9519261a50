"""A registered version as a folder that sentence-transformers loads by itself, with its card and its lineage."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from ragtrial.embedding.sentence_transformers import content_hash
from ragtrial.errors import InputError, SetupError
from ragtrial.finetuning.registry import LINEAGE, TRAINING_TEXTS, RegisteredModel, check_content, now

CARD = "README.md"


def export(model: RegisteredModel, folder: Path, *, card: str, training_texts: bool = False) -> Path:
    """Copy a version: all of it or nothing.

    Args:
        model: The version; its files are compared with the checksums of its registration first.
        folder: Must not be there.
        card: Of `model_card`.
        training_texts: Also copy the digests of the training texts, and the examples of refused pairs in the lineage, which quote queries.

    Returns:
        The folder, absolute.

    Raises:
        InputError: The folder is there already, or can't be made.
        ModelError: The version is not what was registered.
        SetupError: It can't be written.
    """
    if folder.exists():
        raise InputError(f"{str(folder)!r} is there already: give a folder that is not, so that nothing of another model stays in it")
    check_content(model)
    part = folder.with_name(f".{folder.name}.part-{uuid.uuid4().hex[:8]}")
    left_out = shutil.ignore_patterns(LINEAGE, CARD, *(() if training_texts else (TRAINING_TEXTS,)))
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(model.folder, part, ignore=left_out)
        (part / CARD).write_text(card, "utf-8")
        record = _record(model, training_texts=training_texts) | {"exported": {"at": now(), "checksum": content_hash(part)}}
        (part / LINEAGE).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
        part.rename(folder)
    except OSError as error:
        raise SetupError(
            f"model {model.reference} can't be written to {str(folder)!r} ({error.strerror or error}): give another folder"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder.absolute()


def _record(model: RegisteredModel, *, training_texts: bool) -> dict[str, Any]:
    record = dict(model.lineage)
    pairs, files = record.get("pairs"), record.get("files")
    if not training_texts and isinstance(pairs, dict):
        record["pairs"] = {name: value for name, value in pairs.items() if name != "examples"}
    if not training_texts and isinstance(files, dict):
        record["files"] = {name: value for name, value in files.items() if name != TRAINING_TEXTS}
    return record
