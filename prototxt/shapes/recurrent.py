"""Layers that go through a sequence step by step: T steps of N sequences."""

from __future__ import annotations

from math import prod

from prototxt.shapes.table import BLOBS, SHAPES, ShapeError, need


def _sequence(p, bottoms):
    if len(bottoms[0]) < 3:
        raise ShapeError("it takes T x N x values, steps of sequences")
    if p.num_output < 1:
        raise ShapeError("num_output must be at least 1")
    return [(*bottoms[0][:2], p.num_output)]


@SHAPES.register("LSTM")
def lstm(p, bottoms):  # Caffe's: [(T, N, …), (T, N): 0 where a sequence begins] -> [(T, N, H)]
    if p.expose_hidden:
        raise ShapeError("expose_hidden is not supported")
    need(bottoms, 2)
    tops = _sequence(p, bottoms)
    if bottoms[1] != bottoms[0][:2]:
        raise ShapeError("the second bottom must say of each of T x N steps whether it goes on")
    return tops


@SHAPES.register("Lstm")
def fork_lstm(p, bottoms):  # junhyukoh's: [(T, N, …)] -> [(T, N, H)]
    need(bottoms, 1)
    return _sequence(p, bottoms)


def _weights(p, bottoms):
    """Of the input and of the last step, each for the four gates."""
    return (4 * p.num_output, prod(bottoms[0][2:])), (4 * p.num_output, p.num_output)


@BLOBS.register("LSTM")
def lstm_blobs(p, bottoms):
    of_input, of_last = _weights(p, bottoms)
    return [of_input, of_input[:1], of_last]


@BLOBS.register("Lstm")
def fork_lstm_blobs(p, bottoms):
    of_input, of_last = _weights(p, bottoms)
    return [of_input, of_last, of_input[:1]]


@SHAPES.register("ContinuationIndicator")
def continuation_indicator(p, bottoms):  # -> [(T, N)], 0 in the first step
    need(bottoms, 0)
    if min(p.time_step, p.batch_size) < 1:
        raise ShapeError("time_step and batch_size must be at least 1")
    return [(p.time_step, p.batch_size)]
