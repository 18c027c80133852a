"""The checkpoint file: safetensors with a checksum over everything in it.

Safetensors holds arrays and text and nothing that could run. Its own reader accepts flipped bits
in the data, so the metadata carries a SHA-256 of all arrays and of all other metadata.
"""

import contextlib
import hashlib
import json
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from minigan.errors import CheckpointError, UsageError
from minigan.runs.atomic import write_atomically

FORMAT = 1  # raised when an older minigan could not read the file
KEPT = 2
SUFFIX = ".safetensors"
FOR_GOOD = ".kept" + SUFFIX  # of those that no later one takes the place of; who renames another so keeps it, too
DTYPES = {"<f4": "F32", "<f8": "F64"}  # as NumPy and safetensors call them


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name, and facts about them (JSON values): step, recipe, layout, versions, ..."""

    tensors: dict[str, np.ndarray]
    facts: dict[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, for_good: bool = False) -> Path:
    """Write ``step-<n>.safetensors`` atomically, then remove all but the newest two and those that are kept for good.

    Later ones, which could not be read when the run was resumed, stay and do not count.
    """
    path = step_path(folder, checkpoint.facts["step"], FOR_GOOD if for_good else SUFFIX)
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in checkpoint.tensors.items()}
    facts = checkpoint.facts | {"format": FORMAT}
    metadata = {"minigan": json.dumps(facts, sort_keys=True)}
    metadata["sha256"] = _digest(tensors, metadata["minigan"])
    write_atomically(path, *_pieces(tensors, metadata))
    past = [old for old in step_files(folder, SUFFIX) if step_of(old) <= step_of(path)]
    for old in past[:-KEPT]:
        with contextlib.suppress(PermissionError):  # on Windows: somebody is reading it, so it goes the next time
            old.unlink(missing_ok=True)
    return path


def keep_for_good(folder: Path, step: int) -> None:
    """Keep the checkpoint of this step, if there is one."""
    with contextlib.suppress(FileNotFoundError):  # none, or it is kept already
        os.replace(step_path(folder, step, SUFFIX), step_path(folder, step, FOR_GOOD))


def _pieces(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> list[bytes | memoryview]:
    """A safetensors file: the length of the header, the header, and the arrays as they lie in memory.

    The library's own writer first copies all of them, a state twice as large as the run needs otherwise.
    Raises TypeError for arrays other than of float32 and float64.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        if tensor.dtype.str not in DTYPES:
            raise TypeError(f"{name}: a checkpoint holds float32 and float64, not {tensor.dtype}")
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype.str], "shape": tensor.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that arrays of one type begin at a multiple of a number's size
    return [
        struct.pack("<Q", len(text)),
        text,
        *(tensor.reshape(-1).view(np.uint8).data for tensor in tensors.values()),
    ]


def step_path(folder: Path, step: int, suffix: str) -> Path:
    """``step-<n><suffix>``, in nine digits, so that names sort like steps."""
    return folder / f"step-{step:09d}{suffix}"


def step_of(path: Path) -> int:
    """The step in a name that `step_path` has made."""
    return int(path.name.removeprefix("step-").partition(".")[0])


def step_files(folder: Path, suffix: str) -> list[Path]:
    """The files that `step_path` names, in the order of their steps; a person's copies are not among them."""
    name = re.compile(rf"step-[0-9]{{9,19}}{re.escape(suffix)}")
    return sorted((path for path in folder.glob("step-*") if name.fullmatch(path.name) and path.is_file()), key=step_of)


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    both = [*step_files(folder, SUFFIX), *step_files(folder, FOR_GOOD)]
    return sorted(both, key=step_of, reverse=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises CheckpointError: not a checkpoint, damaged (checksum), or of a newer minigan.
    """
    try:
        content = path.read_bytes()
    except OSError as err:
        raise CheckpointError(f"{path}: {err.strerror}") from err
    # The first eight bytes of ours are a length, which may look like anything; "{" comes after it.
    if content[8:9] != b"{" and content[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise CheckpointError(f"{path}: a pickle or .pt file, which can run code when it is read: refused")
    try:
        tensors, metadata = load(content), _metadata(content)
        facts = json.loads(metadata["minigan"])
        stored, newer, version = metadata["sha256"], facts["format"] > FORMAT, facts.get("version", "(unknown)")
        digest = _digest(tensors, metadata["minigan"])
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as err:
        raise CheckpointError(f"{path}: damaged, or no checkpoint of minigan ({' '.join(str(err).split())})") from err
    if stored != digest:
        raise CheckpointError(f"{path}: checksum mismatch, the file is damaged")
    if newer:
        raise CheckpointError(f"{path}: written by minigan {version}, which is newer: update minigan")
    return Checkpoint(tensors, facts)


def read_newest(folder: Path, step: int | None = None) -> tuple[Checkpoint, list[str]]:
    """The newest checkpoint that can be read, of this step if one is given, and a line about each newer that cannot.

    Raises CheckpointError if none can, UsageError if there is none of this step.
    """
    problems: list[str] = []
    files = checkpoint_files(folder)
    of_step = [path for path in files if step in (None, step_of(path))]
    if files and not of_step:
        there = ", ".join(str(one) for one in sorted({step_of(path) for path in files}))
        raise UsageError(f"there is no checkpoint of step {step} in {folder}, but of {there}")
    for path in of_step:
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as err:
            problems.append(str(err))
            continue
        if checkpoint.facts.get("step") == step_of(path):
            return checkpoint, problems
        problems.append(f"{path}: this is no checkpoint of step {step_of(path)}: the file was renamed")
    raise CheckpointError("; ".join(problems) or f"no checkpoint in {folder}")


def _metadata(content: bytes) -> dict[str, str]:
    """The free-text metadata; `load` has already checked the header's length and form."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length], object_pairs_hook=_without_duplicates)
    metadata: dict[str, str] = header["__metadata__"]
    return metadata


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the header; `load` would take the last of two entries with one name."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("two entries have one name")
    return entries


def _digest(tensors: dict[str, np.ndarray], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.data)
    return digest.hexdigest()
