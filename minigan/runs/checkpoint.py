"""The checkpoint file: safetensors with a checksum over everything in it.

Safetensors holds arrays and text and nothing that could run. Its own reader accepts flipped bits
in the data, so the metadata carries a SHA-256 of all arrays and of all other metadata.
"""

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from minigan.errors import CheckpointError
from minigan.runs.atomic import write_atomically

FORMAT = 1  # raised when an older minigan could not read the file
KEPT = 2
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name, and facts about them (JSON values): step, recipe, layout, versions, ..."""

    tensors: dict[str, np.ndarray]
    facts: dict[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write ``step-<n>.safetensors`` atomically, then remove all but the newest two."""
    path = folder / f"step-{checkpoint.facts['step']:09d}{SUFFIX}"
    facts = checkpoint.facts | {"format": FORMAT}
    metadata = {"minigan": json.dumps(facts, sort_keys=True)}
    metadata["sha256"] = _digest(checkpoint.tensors, metadata["minigan"])
    write_atomically(path, save(checkpoint.tensors, metadata=metadata))
    for old in checkpoint_files(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    return sorted(folder.glob(f"step-*{SUFFIX}"), reverse=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises CheckpointError: not a checkpoint, damaged (checksum), or of a newer minigan.
    """
    try:
        content = path.read_bytes()
    except OSError as err:
        raise CheckpointError(f"{path}: {err.strerror}") from err
    if content[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise CheckpointError(f"{path}: a pickle or .pt file, which can run code when it is read: refused")
    try:
        tensors, metadata = load(content), _metadata(content)
        facts = json.loads(metadata["minigan"])
        stored = metadata["sha256"]
    except (SafetensorError, KeyError, ValueError, TypeError) as err:
        raise CheckpointError(f"{path}: damaged, or no checkpoint of minigan ({' '.join(str(err).split())})") from err
    if stored != _digest(tensors, metadata["minigan"]):
        raise CheckpointError(f"{path}: checksum mismatch, the file is damaged")
    if facts["format"] > FORMAT:
        raise CheckpointError(f"{path}: written by minigan {facts['version']}, which is newer: update minigan")
    return Checkpoint(tensors, facts)


def read_newest(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest checkpoint that can be read, and a line about each newer one that cannot.

    Raises CheckpointError if there is none.
    """
    problems: list[str] = []
    for path in checkpoint_files(folder):
        try:
            return read_checkpoint(path), problems
        except CheckpointError as err:
            problems.append(str(err))
    raise CheckpointError("; ".join(problems) or f"no checkpoint in {folder}")


def _metadata(content: bytes) -> dict[str, str]:
    """The free-text metadata; `load` has already checked the header's length and form."""
    (length,) = struct.unpack("<Q", content[:8])
    metadata: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return metadata


def _digest(tensors: dict[str, np.ndarray], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.data)
    return digest.hexdigest()
