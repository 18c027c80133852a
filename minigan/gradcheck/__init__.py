"""Check hand-written gradients against finite differences: ``python -m minigan.gradcheck``, or from Python.

`check_layer` checks a layer of your own, `check_loss` a loss, `numeric_gradient` differentiates any function, `check` a
`Problem`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minigan.gradcheck.cases import all_problems
    from minigan.gradcheck.method import STEP, TOLERANCE, Problem, Row, check, numeric_gradient
    from minigan.gradcheck.own import BrokenPromise, check_layer, check_loss

__all__ = [
    "STEP",
    "TOLERANCE",
    "BrokenPromise",
    "Problem",
    "Row",
    "all_problems",
    "check",
    "check_layer",
    "check_loss",
    "numeric_gradient",
]
_ELSEWHERE = {"all_problems": "cases", "BrokenPromise": "own", "check_layer": "own", "check_loss": "own"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that --help, which runs this file too, answers at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'method')}"), name)
