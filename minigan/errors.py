"""Errors that are a person's to mend: shown as one line, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something in the input, the files or the machine that the user can put right.

    The message is one line: what is wrong, where, and what to do. Commands print it and leave
    with `exit_code`.
    """

    exit_code = 1


class UsageError(UserError):
    """A wrong option, argument or configuration key: exit code 2, as shells expect."""

    exit_code = 2


class DataError(UserError):
    """A data file that is damaged, of another kind, or does not fit the task."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or does not belong to this run."""


OF_CUDA = ("CUDARuntimeError", "CUDADriverError", "CUBLASError", "NcclError", "CublasError")  # CuPy's, and ours

OUT_OF_MEMORY = (
    "cudaErrorMemoryAllocation",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "ALLOC_FAILED",
    "(status 3)",
)  # for CUDA and cuBLAS


def machine_failure(err: BaseException) -> str:
    """In one line, what the machine could not do: no memory left, or an error of the GPU. Empty for any other error."""
    text = " ".join(str(err).split())
    of_cuda = type(err).__name__ in OF_CUDA
    if isinstance(err, MemoryError) or (of_cuda and any(words in text for words in OUT_OF_MEMORY)):
        return "out of memory: try a smaller batch, smaller networks, or fewer samples"
    return f"the GPU failed: {text}" if of_cuda else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest of the known words, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
