"""``python -m minigan.report RUN``: report.html of a run, one page with all that its folder tells."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from minigan import cli


@dataclass(frozen=True)
class Options:
    run: tyro.conf.Positional[Path]
    """folder of the run"""
    out: Path | None = None
    """file to write; without it RUN/report.html"""
    debug: bool = False
    """show the traceback of an error"""


def main(argv: list[str]) -> int:
    options = cli.parse(
        Options, argv, prog="python -m minigan.report",
        description="Make a page of all that a run's folder tells: curves, samples, scores. It needs no network.",
    )  # fmt: skip
    # Imported here, so that --help answers at once.
    from minigan.reports.page import write_report
    from minigan.runs.folder import RunFolder

    folder = RunFolder(options.run)
    if options.out is not None and options.out.resolve() != folder.report.resolve():
        folder.refuse_to_replace(options.out)
    print(write_report(folder, options.out))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
