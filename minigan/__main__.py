"""The console script: ``minigan train ...`` is ``python -m minigan.train ...``, and so on."""

import importlib
import runpy
import sys
from pathlib import Path

from minigan import __version__, cli
from minigan.errors import UsageError, did_you_mean

COMMANDS = {
    "train": ("minigan.train", "train a recipe"),
    "sample": ("minigan.sample", "draw more samples from a run"),
    "export": ("minigan.export", "write a run's network for PyTorch or as ONNX"),
    "evaluate": ("minigan.evaluate", "score a run's samples"),
    "report": ("minigan.report", "put all that a run's folder tells on one page"),
    "load": ("minigan.load", "make a run from a network in PyTorch's format"),
    "toy": ("minigan.toy", "a GAN of one or two dimensions, drawn with its gradients"),
    "gradcheck": ("minigan.gradcheck.__main__", "check every gradient against finite differences"),
    "info": ("minigan.info", "show versions, BLAS, threads and devices"),
}


def dispatch(argv: list[str]) -> int:
    """Run the command that the first argument names, after the files that ``--with FILE.py`` names before it."""
    while argv and argv[0] == "--with":
        if len(argv) < 2:
            raise UsageError("--with takes a Python file: minigan --with FILE.py COMMAND [options]")
        runpy.run_path(_file(argv[1]), run_name="minigan_with")
        cli.FILES.append(argv[1])
        argv = argv[2:]
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: minigan COMMAND [options]    (minigan COMMAND --help explains each)\n")
        print("\n".join(f"  {name:10} {text}" for name, (_, text) in COMMANDS.items()))
        print("\nminigan --with FILE.py COMMAND ... runs a file first, such as one that registers a recipe of yours")
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"minigan {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        hint = did_you_mean(argv[0], COMMANDS)
        raise UsageError(f"unknown command {argv[0]!r}{hint}; there are {', '.join(COMMANDS)}")
    command = importlib.import_module(COMMANDS[argv[0]][0])
    code: int = command.main(argv[1:])
    return code


def _file(path: str) -> str:
    if not Path(path).is_file():
        raise UsageError(f"--with {path}: there is no such file")
    return path


def main() -> int:
    """Entry point of the console script."""
    return cli.run(dispatch, stops_unread="train" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
