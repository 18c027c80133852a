"""Check hand-written gradients against finite differences: ``python -m minigan.gradcheck``."""

from minigan.gradcheck.cases import all_problems
from minigan.gradcheck.method import STEP, TOLERANCE, Problem, Row, check, numeric_gradient
from minigan.gradcheck.own import BrokenPromise, check_layer

__all__ = [
    "STEP",
    "TOLERANCE",
    "BrokenPromise",
    "Problem",
    "Row",
    "all_problems",
    "check",
    "check_layer",
    "numeric_gradient",
]
