"""Update rules on flat vectors: one pass over all parameters of a network."""

from minigan.optim.adam import Adam
from minigan.optim.gradients import add_weight_decay, clip_by_norm, clip_by_value
from minigan.optim.optimiser import Coefficients, Moments, Optimiser
from minigan.optim.rmsprop import RMSprop
from minigan.optim.schedules import Cyclical, ExponentialDecay, LinearRamp, Schedule
from minigan.optim.sgd import SGD, Momentum

__all__ = [
    "SGD",
    "Adam",
    "Coefficients",
    "Cyclical",
    "ExponentialDecay",
    "LinearRamp",
    "Moments",
    "Momentum",
    "Optimiser",
    "RMSprop",
    "Schedule",
    "add_weight_decay",
    "clip_by_norm",
    "clip_by_value",
]
