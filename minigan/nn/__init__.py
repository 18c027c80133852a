"""Layers: each binds shapes, names and parameters to an operation of ``minigan.ops``."""

from minigan.nn.activations import ELU, LeakyReLU, ReLU, ScaledTanh, Sigmoid, Softplus, Tanh
from minigan.nn.batchnorm import BatchNorm
from minigan.nn.conv import Conv2D, ConvTranspose2D, pair
from minigan.nn.dense import Dense
from minigan.nn.dropout import Dropout
from minigan.nn.layer import Cache, Layer, ShapeError, init_params
from minigan.nn.maxout import Maxout
from minigan.nn.params import Params, Views
from minigan.nn.parted_batchnorm import PartedBatchNorm, in_parts
from minigan.nn.resample import AveragePool, GlobalAverage, MaxPool, PixelShuffle, PixelUnshuffle, Upsample
from minigan.nn.reshape import Flatten, Reshape
from minigan.nn.sequential import Sequential
from minigan.nn.shared_batchnorm import SharedBatchNorm, share_batchnorm

__all__ = [
    "ELU",
    "AveragePool",
    "BatchNorm",
    "Cache",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAverage",
    "Layer",
    "LeakyReLU",
    "MaxPool",
    "Maxout",
    "Params",
    "PartedBatchNorm",
    "PixelShuffle",
    "PixelUnshuffle",
    "ReLU",
    "Reshape",
    "ScaledTanh",
    "Sequential",
    "ShapeError",
    "SharedBatchNorm",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "Upsample",
    "Views",
    "in_parts",
    "init_params",
    "pair",
    "share_batchnorm",
]
