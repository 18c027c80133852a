"""Check hand-written gradients against finite differences: ``python -m minigan.gradcheck``."""

from minigan.gradcheck.cases import all_problems
from minigan.gradcheck.method import STEP, TOLERANCE, Problem, Row, check, numeric_gradient

__all__ = ["STEP", "TOLERANCE", "Problem", "Row", "all_problems", "check", "numeric_gradient"]
