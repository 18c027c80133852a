"""x"""
from typing import NamedTuple
class Diagnosis(NamedTuple):
    name: str
    evidence: str
    remedies: tuple
def diagnose(rows, vitals): return []
def in_a_word(rows, diagnoses): return "balanced"
