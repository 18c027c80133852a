"""Options of a run that are not constants of its recipe."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minigan.errors import UsageError

MOST_THREADS, MOST_ROUNDS = 1024, 10**12


@dataclass(frozen=True)
class RunOptions:
    """What to train on, for how long, where, and what to write down."""

    data: str = "mnist5k"
    """mnist5k (5,000 digits that come with minigan), mnist:DIR or fashion:DIR (IDX files), stacked (three of those
    digits as red, green and blue) or stacked:DIR (the same of IDX files), folder:PATH (image files in a folder, flat
    or one folder a class, or in a zip file), or numpy:FILE (an array of bytes in an .npy or .npz file)"""
    steps: int | None = None
    """rounds in all, those before a --resume included; without it the recipe's own number"""
    epochs: int | None = None
    """passes of D over the data, instead of --steps"""
    seed: int = 0
    """of everything random; the same seed gives the same run"""
    device: str = "auto"
    """auto, cpu, gpu or gpu:N"""
    threads: int | None = None
    """threads that compute; without it two at most for a small system, else as many as the linear algebra library
    takes"""
    kernels: Literal["fast", "plain"] = "fast"
    """on the CPU: fast convolutions, and passes that stay in the cache; or plain, the code that the docs explain"""
    precision: Literal["float32", "float64"] = "float32"
    """of all numbers"""
    tf32: bool = False
    """on a GPU from Ampere on, multiply float32 as tensor cores do, by factors with 10 bits behind the point; without
    it as CUPY_TF32 in the environment says"""
    image_memory: float = 4.0
    """GiB that the images may take; those that need more are decoded in the background while training goes on, to
    the same bits"""
    last_batch: Literal["drop", "keep"] = "drop"
    """the last batch of an epoch, if it is not full: left out (other images each time), or used"""
    log_every: int = 10
    """rounds between two rows of metrics.csv"""
    snapshot_every: int = 250
    """rounds between two sample pictures"""
    evaluate_every: int = 0
    """rounds between two rows of scores.csv: a thousand samples, fewer of large images, against real ones; 0: never"""
    tensorboard: bool = False
    """write all that is measured and the sample pictures for TensorBoard, too, into the run's folder, where it shows
    them while training goes on: tensorboard --logdir runs"""
    checkpoint_every: int = 500
    """rounds between two checkpoints"""
    keep_every: int = 0
    """rounds between two checkpoints that are kept for good, beside the newest two; 0: none"""
    out: Path | None = None
    """folder of the run; without it a new one in runs/"""
    resume: bool = False
    """go on from the newest checkpoint in --out (without --out: of the newest run in runs/)"""
    overwrite: bool = False
    """replace the run that is in --out"""
    config: Path | None = None
    """TOML file with options, for instance the config.toml of another run; the command line wins"""
    list: bool = False
    """list the recipes and leave"""
    debug: bool = False
    """show the traceback of an error"""

    def __post_init__(self) -> None:
        every = ("log_every", "snapshot_every", "evaluate_every", "checkpoint_every", "keep_every")
        for name in ("steps", "epochs", "threads", *every):
            value, option = getattr(self, name), f"--{name.replace('_', '-')}"
            least, words = (0, "0, never") if name in ("evaluate_every", "keep_every") else (1, "1")
            most = MOST_THREADS if name == "threads" else MOST_ROUNDS
            if value is not None and value < least:
                raise UsageError(f"{option} {value} is out of range: the smallest is {words}")
            if value is not None and value > most:
                raise UsageError(f"{option} {value} is out of range: the largest is {most}")
        if not self.image_memory >= 0:  # also for NaN
            raise UsageError(f"--image-memory {self.image_memory} is out of range: the smallest is 0")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed {self.seed} is out of range: allowed are 0 to {2**32 - 1}")
        if self.steps is not None and self.epochs is not None:
            raise UsageError("--steps and --epochs both say how long: give one of them")
        if self.tf32 and self.precision != "float32":
            raise UsageError(f"--tf32 is about products of float32: leave --precision {self.precision} or --tf32 out")
        if self.resume and self.overwrite:
            raise UsageError("--resume goes on with a run and --overwrite throws it away: give one of them")
        if self.resume and self.config:
            raise UsageError("--resume takes the run's own config.toml: leave --config out")


# Options that describe the run itself, and so stand in its config.toml.
STORED = (
    "data", "steps", "epochs", "seed", "threads", "kernels", "precision", "tf32", "image_memory",
    "last_batch", "log_every", "snapshot_every", "evaluate_every", "tensorboard", "checkpoint_every",
    "keep_every",
)  # fmt: skip
# Those of them that a resumed run may change without becoming another run. Images may have moved, but not changed.
FREE_ON_RESUME = (
    "data", "steps", "epochs", "threads", "kernels", "tf32", "image_memory", "evaluate_every", "checkpoint_every",
    "keep_every", "tensorboard",
)  # fmt: skip
# Options of one call: no file can hold them.
CALL_ONLY = ("resume", "overwrite", "config", "list", "debug")
