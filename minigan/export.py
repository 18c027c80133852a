"""``python -m minigan.export RUN``: a run's network as PyTorch's tensors (safetensors) or as ONNX."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from minigan import cli
from minigan.errors import UsageError

if TYPE_CHECKING:
    from minigan.runs.saved import SavedRun


@dataclass(frozen=True)
class Options:
    run: tyro.conf.Positional[Path]
    """folder of the run"""
    format: Literal["safetensors", "onnx"] = "safetensors"
    """safetensors: weights under PyTorch's names and in its layouts; onnx: the whole network, in float32"""
    network: Literal["generator", "discriminator"] = "generator"
    """which network; the generator with its averaged parameters where the run has them"""
    names: Literal["sequential", "examples"] = "sequential"
    """of the tensors: those of a torch.nn.Sequential, or those of pytorch/examples' dcgan (of dcgan-64 only)"""
    step: int | None = None
    """of the checkpoint: one that `minigan.train --keep-every` has kept; without it the newest"""
    out: Path | None = None
    """file to write; without it RUN/generator.safetensors and so on, RUN/netG.safetensors for --names examples, with
    --step in the name if that is given"""
    debug: bool = False
    """show the traceback of an error"""

    def __post_init__(self) -> None:
        if self.names == "examples" and self.format == "onnx":
            raise UsageError("--names examples is for safetensors: ONNX has no names to choose")
        other = ".safetensors" if self.format == "onnx" else ".onnx"
        if self.out is not None and self.out.suffix.lower() == other:
            raise UsageError(f"--out {self.out}: the file is {self.format}, give it another ending")

    @property
    def file(self) -> Path:
        stem = self.network if self.names == "sequential" else f"net{self.network[0].upper()}"
        at = "" if self.step is None else f"-step-{self.step}"
        return self.out or self.run / f"{stem}{at}.{self.format}"


def main(argv: list[str]) -> int:
    options = cli.parse(
        Options, argv, prog="python -m minigan.export", description="Write a run's network for other programs."
    )
    # Imported here, so that --help answers at once.
    from minigan.backend import CPU
    from minigan.runs.atomic import write_atomically
    from minigan.runs.folder import RunFolder
    from minigan.runs.saved import load_run

    RunFolder(options.run).refuse_to_replace(options.out)
    saved = load_run(options.run, CPU, step=options.step)
    if options.names == "examples" and saved.recipe.name != "dcgan-64":
        raise UsageError(f"--names examples is for runs of dcgan-64, and {options.run} is one of {saved.recipe.name}")
    if options.network in saved.lacks:
        raise UsageError(f"{options.run} was loaded without a {options.network}: there is none to export")
    for note in saved.notes:
        print(f"note: {note}")
    write = onnx_file if options.format == "onnx" else safetensors_file
    content, facts = write(saved, options)
    write_atomically(options.file, content)
    print(f"{options.network} of {saved.recipe.name}, step {saved.state.step}: {options.file}")
    print(f"input {facts['input']}, output {facts['output']}; pixels in {facts['pixels']}")
    return 0


def chosen(saved: "SavedRun", options: Options) -> tuple[Any, Any, dict[str, Any]]:
    """(network, parameters, the shapes of the images that a flat input or output stands for)."""
    if options.network == "generator":
        return saved.state.g.net, saved.state.drawing, {"image_out": saved.image_shape}
    return saved.state.d.net, saved.state.d.theta, {"image_in": saved.image_shape}


def safetensors_file(saved: "SavedRun", options: Options) -> tuple[bytes, dict[str, str]]:
    """The file's content, and the facts in its metadata."""
    import json

    from safetensors.numpy import save

    from minigan.interchange import torch_layout

    net, theta, images = chosen(saved, options)
    twin = torch_layout.twin(net, theta.in_shape, **images)
    facts = describe(saved, options)
    if options.network == "discriminator" and len(theta.in_shape) == 1 and not saved.recipe.condition:
        facts["input"] += ".flatten(1)"
    if options.names == "examples":
        twin = torch_layout.example_twin(twin)
        latents = {"input": f"(N, {saved.recipe.latent}, 1, 1)"}
        facts |= latents if options.network == "generator" else {"output": "(N, 1, 1, 1) logits, before its Sigmoid"}
    layers = [{"name": name, "kind": kind, "arguments": values} for name, (kind, values) in twin.modules.items()]
    constants = {"constants": dataclasses.asdict(saved.recipe), "image_shape": saved.image_shape}  # for minigan.load
    texts = {name: json.dumps(value) for name, value in {"layers": layers, **constants}.items()}
    metadata = {"format": "pt", **facts, **texts}
    return save(torch_layout.state_dict(twin, theta), metadata=metadata), facts


def onnx_file(saved: "SavedRun", options: Options) -> tuple[bytes, dict[str, str]]:
    """The file's content, and the facts in its metadata."""
    from minigan.interchange.onnx_graph import onnx_bytes

    net, theta, images = chosen(saved, options)
    names = ("z", "images") if options.network == "generator" else ("images", "logits")
    facts, condition = describe(saved, options), "y" if saved.recipe.condition else ""
    return onnx_bytes(net, theta, **images, names=names, condition=condition, facts=facts), facts


def describe(saved: "SavedRun", options: Options) -> dict[str, str]:
    """What a reader of the file needs to know."""
    from minigan import __version__
    from minigan.interchange.steps import channels_first

    recipe, (height, width, channels) = saved.recipe, saved.image_shape
    images, latents = f"(N, {channels}, {height}, {width})", f"(N, {recipe.latent})"
    ends = (latents, images) if options.network == "generator" else (images, "(N, 1) logits")
    if recipe.condition and options.format == "onnx":
        ends = (f"{ends[0]} and y (N, {recipe.condition}), the one-hot code of the class", ends[1])
    elif recipe.condition:
        told = f"with the code of the class in the last {recipe.condition} channels"
        net, theta, _ = chosen(saved, options)
        shapes = map(channels_first, (theta.in_shape, net.out_shape(theta.in_shape)))
        taken, made = (f"(N, {', '.join(map(str, shape))})" for shape in shapes)
        ends = (f"{taken} {told}", f"{made} {told}" if options.network == "generator" else ends[1])
    return {
        "minigan": __version__, "recipe": recipe.name, "network": options.network, "step": str(saved.state.step),
        "input": ends[0], "output": ends[1], "pixels": f"[{recipe.low:g}, {recipe.high:g}]",
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(cli.run(main))
