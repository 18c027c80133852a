"""Layers: each binds shapes, names and parameters to an operation of ``minigan.ops``."""

from minigan.nn.activations import ELU, LeakyReLU, ReLU, ScaledTanh, Sigmoid, Softplus, Tanh
from minigan.nn.batchnorm import BatchNorm
from minigan.nn.conditioned import Conditioned
from minigan.nn.conv import Conv2D, ConvTranspose2D, pair
from minigan.nn.dense import Dense
from minigan.nn.dropout import Dropout
from minigan.nn.ghost_batchnorm import GhostBatchNorm, in_parts
from minigan.nn.layer import Cache, Layer, ShapeError, init_params
from minigan.nn.maxout import Maxout
from minigan.nn.params import Params, Views
from minigan.nn.resample import AveragePool, GlobalAveragePool, MaxPool, PixelShuffle, PixelUnshuffle, Upsample
from minigan.nn.reshape import Flatten, Reshape
from minigan.nn.sequential import Sequential, needs_batches, without_second_gradient
from minigan.nn.sync_batchnorm import SyncBatchNorm, convert_sync_batchnorm

__all__ = [
    "ELU",
    "AveragePool",
    "BatchNorm",
    "Cache",
    "Conditioned",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GhostBatchNorm",
    "GlobalAveragePool",
    "Layer",
    "LeakyReLU",
    "MaxPool",
    "Maxout",
    "Params",
    "PixelShuffle",
    "PixelUnshuffle",
    "ReLU",
    "Reshape",
    "ScaledTanh",
    "Sequential",
    "ShapeError",
    "Sigmoid",
    "Softplus",
    "SyncBatchNorm",
    "Tanh",
    "Upsample",
    "Views",
    "convert_sync_batchnorm",
    "in_parts",
    "init_params",
    "needs_batches",
    "pair",
    "without_second_gradient",
]
