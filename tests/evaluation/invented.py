"""Weights of EfficientNet-Lite0 that anybody may have: random ones, of the right shapes."""

import numpy as np

from minigan.evaluation.efficientnet import network


def random_tensors(seed=0):
    """A file's tensors of the right shapes: activations neither vanish nor all end at 6."""
    rng, tensors, channels = np.random.default_rng(seed), {}, 3
    for step in (step for block in network() for step in block.steps):
        kernel, outputs = step.layer.kernel, step.layer.channels
        inputs = channels // step.layer.groups
        spread = np.sqrt(2 / (inputs * kernel**2))
        tensors[f"{step.file_name}.weight"] = rng.normal(0, spread, (outputs, inputs, kernel, kernel))
        for key, low, high in (
            ("weight", 0.5, 1.5),
            ("bias", 0, 1),
            ("running_mean", -0.5, 0.5),
            ("running_var", 1, 3),
        ):
            tensors[f"{step.norm}.{key}"] = rng.uniform(low, high, outputs)
        channels = outputs
    return tensors | {"_fc.weight": rng.normal(0, 0.05, (1000, channels)), "_fc.bias": rng.normal(0, 1, 1000)}
