"""The console script: ``minigan train ...`` is ``python -m minigan.train ...``, and so on."""

import importlib.util
import re
import sys
from pathlib import Path

from minigan import __version__, cli
from minigan.errors import UsageError, UserError, did_you_mean

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
    files, argv = _files(argv)
    for file in files:
        _import(file)
    if argv[:1] == ["--with"]:
        raise UsageError("--with takes a Python file: minigan --with FILE.py COMMAND [options]")
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


def _files(argv: list[str]) -> tuple[list[str], list[str]]:
    """What --with names before the command, and the rest."""
    files = []
    while argv[1:] and argv[0] == "--with":
        files.append(argv[1])
        argv = argv[2:]
    return files, argv


def _import(file: str) -> None:
    """Run a file as a module of its own, beside which it finds others, as `python FILE` would."""
    path = Path(file).absolute()
    if not path.is_file():
        raise UsageError(f"--with {file}: there is no such file")
    name = re.sub(r"\W", "_", f"minigan_with_{path}")  # another one for each file
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--with {file}: not a Python file, which ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and help look for the source
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except (Exception, SystemExit) as err:
        where = cli.line_of(err, [file]) or file
        raise UsageError(f"--with {file}: {type(err).__name__} in {where}: {err}") from err
    cli.FILES.append(file)


def main() -> int:
    """Entry point of the console script."""
    _, rest = _files(sys.argv[1:])
    return cli.run(dispatch, stops_unread=rest[:1] == ["train"])


if __name__ == "__main__":
    sys.exit(main())
