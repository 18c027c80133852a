"""``python -m minigan.evaluation.train_classifier SOURCE --out FILE``: make a classifier for the scores.

Plain supervised training with the layers, the loss and the optimiser of minigan; the same seed gives the
same file on the same machine. A float16 file of 260 KB is written, and its accuracy on the test images printed.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from minigan import cli
from minigan.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from minigan.data.sources import Dataset
    from minigan.nn import Params


@dataclass(frozen=True)
class Options:
    data: tyro.conf.Positional[str]
    """mnist:DIR or fashion:DIR, the folder with the four IDX files"""
    out: Path
    """file to write"""
    epochs: int = 20
    """passes over the training images"""
    batch_size: int = 128
    """images in a batch"""
    lr: float = 3e-3
    """Adam's learning rate at the start; it falls to zero in a straight line"""
    average: float = 0.998
    """decay of the exponential average of the parameters that is written"""
    shift: int = 2
    """training images are moved by up to this many pixels"""
    flip: bool = False
    """training images are mirrored at random: for clothes, never for digits"""
    seed: int = 0
    """of everything random"""
    debug: bool = False
    """show the traceback of an error"""

    def __post_init__(self) -> None:
        limits = {"epochs": (1, 1000), "batch_size": (2, 10_000), "lr": (0, 1), "average": (0, 0.9999), "shift": (0, 8)}
        for name, (lowest, highest) in limits.items():
            if not lowest <= getattr(self, name) <= highest:
                option = f"--{name.replace('_', '-')} {getattr(self, name)}"
                raise UsageError(f"{option} is out of range: allowed are {lowest} to {highest}")


def main(argv: list[str]) -> int:
    options = cli.parse(
        Options, argv, prog="python -m minigan.evaluation.train_classifier",
        description="Train the small classifier that scores of digits or clothes look through.",
    )  # fmt: skip
    if not options.out.parent.is_dir():  # found out now rather than after the training
        raise UsageError(f"--out {options.out}: there is no folder {options.out.parent}")
    if options.out.is_dir():
        raise UsageError(f"--out {options.out} is a folder: give the name of a file")
    # Imported here, so that --help answers at once.
    from minigan.data.sources import load_images
    from minigan.evaluation.classifier import CLASSES, IMAGE_SHAPE, read_weights, write_weights

    training, test = load_images(options.data), load_images(options.data, split="test")
    if training.labels is None or training.images.shape[1:] != IMAGE_SHAPE:
        raise UsageError(f"{options.data}: the classifier is for images of {IMAGE_SHAPE} with labels")
    if (largest := max(data.labels.max() for data in (training, test) if data.labels is not None)) >= CLASSES:
        raise UsageError(f"{options.data}: there is a label {largest}, the classifier knows 0 to {CLASSES - 1}")
    rounded = read_weights(write_weights(train(options, training)))
    share = accuracy(rounded, test)
    given = [f"--{name.replace('_', '-')} {getattr(options, name)}" for name in SHOWN] + ["--flip"] * options.flip
    made = f"python -m minigan.evaluation.train_classifier {training.name}:DIR {' '.join(given)}"
    options.out.write_bytes(write_weights(rounded, f"{made}; test accuracy {share:.4f}"))
    print(f"accuracy on {len(test.images)} test images {share:.2%}: {options.out}")
    return 0


SHOWN = ("epochs", "batch_size", "lr", "average", "shift", "seed")


def train(options: Options, data: "Dataset") -> "Params":
    """The averaged parameters after all epochs."""
    import numpy as np

    from minigan import ops
    from minigan.data.batches import Batches
    from minigan.evaluation.classifier import IMAGE_SHAPE, encode, network
    from minigan.nn import init_params
    from minigan.optim import Adam, LinearRamp
    from minigan.optim.average import average_coefficients, update_average
    from minigan.randomness import Purpose, stream

    net = network()
    theta = init_params(net, IMAGE_SHAPE, stream(options.seed, Purpose.INIT_DISCRIMINATOR))
    batches = Batches(len(data.images), options.batch_size, options.seed)
    steps = options.epochs * batches.per_epoch
    rule = Adam(lr=LinearRamp(options.lr, 0.0, steps))
    average, moments, losses = theta.copy(), rule.init_moments(theta), np.zeros(batches.per_epoch)
    assert data.labels is not None
    for step in range(steps):
        rng = stream(options.seed, Purpose.DROPOUT, step)  # of all that is random in a step: moves, then masks
        chosen = batches.indices(step)
        x = encode(moved(data.images[chosen], options.shift, options.flip, rng))
        logits, cache = net.forward(theta, x, train=True, rng=rng)
        loss, dlogits = ops.softmax_cross_entropy(logits, data.labels[chosen])
        grads = theta.gradients()
        net.backward(theta, dlogits, cache, grads, need_dx=False)
        net.update_statistics(theta, cache)
        rule.update(theta, grads, moments, step + 1)
        update_average(average, theta, average_coefficients(options.average, step + 1))
        losses[step % batches.per_epoch] = loss
        if (step + 1) % batches.per_epoch == 0:
            print(f"epoch {(step + 1) // batches.per_epoch}: mean loss {losses.mean():.4f}", flush=True)
    return average


def moved(images: "np.ndarray", shift: int, flip: bool, rng: "np.random.Generator") -> "np.ndarray":
    """Images (N, H, W, C), each moved by up to `shift` pixels either way (black moves in) and perhaps mirrored."""
    import numpy as np

    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    top, left = rng.integers(0, 2 * shift + 1, (2, n))
    rows = top[:, None] + np.arange(height)  # (N, H)
    columns = left[:, None] + np.arange(width)  # (N, W)
    if flip:
        mirrored = rng.random((n, 1)) < 0.5
        columns = np.where(mirrored, columns[:, ::-1], columns)
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def accuracy(theta: "Params", data: "Dataset") -> float:
    """Share of the images whose likeliest class is their label."""
    import numpy as np

    from minigan.evaluation.classifier import Classifier

    return float((Classifier("", theta).classes(np.asarray(data.images)) == data.labels).mean())


if __name__ == "__main__":
    sys.exit(cli.run(main))
