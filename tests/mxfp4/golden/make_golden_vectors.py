#!/usr/bin/env python3
"""Writes vectors.json: what public Python packages make of weights, for golden_test.cc to compare.

    python3 -m venv venv
    venv/bin/pip install torch==2.13.0
    venv/bin/pip install torch==2.13.0 torchao==0.18.0 compressed-tensors==0.20.0 \\
        transformers==5.18.0
    venv/bin/python tests/mxfp4/golden/make_golden_vectors.py

Needs no GPU. Quantizing: torchao's FLOOR, RCEIL and EVEN, which are our modes ocp, gptoss and even;
compressed-tensors' mxfp4-pack-quantized, which is even. Decoding: transformers.

"weights" holds the inputs once for each dtype, in blocks of 32, as hexadecimal digits of the
little-endian elements. An entry of "quantized" leaves out the blocks that it lists in "left_out",
counted among all; its "scales" and "blocks" are of the others, in order. A block is left out where
its producer is known to do something else than its rule says: see the functions below, which decide
that from the weights alone.
"""

import json
import math
import platform
from importlib.metadata import version
from pathlib import Path

import torch
from compressed_tensors.compressors.mxfp4 import MXFP4PackedCompressor
from compressed_tensors.quantization import QuantizationScheme
from compressed_tensors.quantization.quant_scheme import MXFP4A16
from compressed_tensors.quantization.utils import calculate_qparams
from torchao.prototype.mx_formats.config import ScaleCalculationMode
from torchao.prototype.mx_formats.mx_tensor import MXTensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

BLOCK = 32
DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32}
INTEGERS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
MIDPOINTS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)


# Inputs.


def tensor(values, dtype):
    return torch.tensor(values, dtype=torch.float64).to(dtype)


def of_bits(patterns, dtype):
    return torch.tensor(patterns, dtype=INTEGERS[dtype]).view(dtype)


def above(value):
    """The next one of larger magnitude: floats are ordered as their bits are."""
    return (value.view(INTEGERS[value.dtype]) + 1).view(value.dtype)


def below(value):
    return (value.view(INTEGERS[value.dtype]) - 1).view(value.dtype)


def with_maximum(maximum, generator):
    """Random weights of no more than `maximum`, with it among them."""
    block = torch.rand(BLOCK, generator=generator, dtype=torch.float64) * 2 - 1
    block = (block * maximum.double() * 0.999).to(maximum.dtype)
    place = int(torch.randint(BLOCK, (1,), generator=generator))
    block[place] = maximum if place % 2 == 0 else -maximum
    return block


def maxima(dtype, generator):
    """Every maximum about which two rules or two roundings could differ, at many exponents."""
    exponents = (-126, -125, -124, -123, -122, -120, -33, -8, -6, -5, 0, 2, 5, 64, 120, 126, 127)
    blocks = []
    for exponent in exponents:
        half, threequarters = (tensor(m * 2.0**exponent, dtype) for m in (1.5, 1.75))
        one, more, almost = (tensor(m * 2.0**exponent, dtype) for m in (1.0, 1.51, 1.9921875))
        some = [one, below(half), half, above(half), more, below(threequarters), threequarters]
        blocks += [with_maximum(maximum, generator) for maximum in (*some, almost)]
    return blocks


def midpoints(dtype):
    """Under one scale: all that lies half-way between two values, and just beside it."""
    blocks = []
    for exponent in (-126, -125, -124, -100, -9, -1, 0, 90, 125):
        scale = 2.0**exponent
        values = []
        for midpoint in MIDPOINTS:
            middle = tensor(midpoint * scale, dtype)
            for neighbour in (below(middle), middle, above(middle)):
                values += [neighbour, -neighbour]
        for half in (values[:21], values[21:]):
            # With 6 * scale as the maximum, all three rules choose `scale`.
            six = tensor(6 * scale, dtype)
            zeros = [tensor(zero, dtype) for zero in (0.0, -0.0)] * 5
            blocks.append(torch.stack([*half, *zeros, six]))
    return blocks


def zeros_and_subnormals(dtype, generator):
    mantissa = 7 if dtype == torch.bfloat16 else 23
    sign = -(1 << (15 if dtype == torch.bfloat16 else 31))
    last = (1 << mantissa) - 1
    subnormals = torch.randint(1, last, (BLOCK,), generator=generator).tolist()
    both = [0, sign] * (BLOCK // 2)
    lone = [0, sign, sign] + [0] * (BLOCK - 3)
    patterns = [
        [0] * BLOCK,
        [sign] * BLOCK,
        both,
        subnormals,
        [pattern | sign for pattern in subnormals],
        [last, last | sign, *both[2:]],
        [1, 1 | sign, *both[2:]],
        [1] * BLOCK,
    ]
    blocks = [of_bits(pattern, dtype) for pattern in patterns]
    # One weight, beside zeros and beside subnormals.
    for value in (2.0**-126, 2.0**-7, -0.02, -3.0, 2.0**100):
        for beside in (lone, subnormals):
            block = of_bits(beside, dtype)
            block[BLOCK - 1] = tensor(value, dtype)
            blocks.append(block)
    return blocks


def inputs(dtype):
    generator = torch.Generator().manual_seed(20260101)
    normal = torch.randn(24, BLOCK, generator=generator, dtype=torch.float64) * 0.02
    # Magnitudes of all sizes in one block.
    sizes = torch.rand(12, BLOCK, generator=generator, dtype=torch.float64) * 12 - 8
    signs = torch.randint(2, (12, BLOCK), generator=generator) * 2 - 1
    blocks = [*normal.to(dtype), *(signs * torch.exp2(sizes)).to(dtype)]
    blocks += maxima(dtype, generator)
    blocks += midpoints(dtype)
    blocks += zeros_and_subnormals(dtype, generator)
    stacked = torch.stack(blocks)
    assert stacked.isfinite().all()
    return stacked


# Quantizers: each takes blocks [N, 32] and returns the scales [N] and the packed blocks [N, 16].


def by_torchao(weights, mode):
    quantized = MXTensor.to_mx(weights, torch.float4_e2m1fn_x2, BLOCK, mode)
    scales = quantized.scale.view(torch.uint8).reshape(-1)
    return scales, quantized.qdata.view(torch.uint8)


def by_compressed_tensors(weights):
    scheme = QuantizationScheme(targets=["Linear"], **MXFP4A16)
    least, most = weights.amin(-1, keepdim=True), weights.amax(-1, keepdim=True)
    scale, _ = calculate_qparams(least, most, scheme.weights)
    state = {"weight": weights, "weight_scale": scale}
    packed = MXFP4PackedCompressor.compress(state, scheme)
    return packed["weight_scale"].reshape(-1), packed["weight_packed"]


# What is left out, by the largest magnitude of a block, m * 2^k with 1 <= m < 2.


def is_left_out_of_floor(largest, dtype):
    # torchao 0.18 gives these scale 0, but divides by 2^-126, to never divide by a subnormal.
    return 0 < largest < 2.0**-124


def is_left_out_of_even(largest, dtype):
    # As for FLOOR. At the other end, the maximum rounds to infinity and the scale to 253, under
    # which the maximum becomes 4 * 2^126: infinite. Ours stops at 252.
    return 0 < largest < 1.75 * 2.0**-125 or largest >= 1.75 * 2.0**127


def is_left_out_of_rceil(largest, dtype):
    # torchao 0.18 gives the first ones scale 0, but then does not divide at all: all codes are 0.
    if 0 < largest <= 1.5 * 2.0**-125:
        return True
    # It takes log2(max / 6) in FP32, which for an FP32 maximum just above 1.5 * 2^k is k - 2
    # exactly, unless k - 2 is small; rounded up that is one less than needed, and the maximum
    # saturates. Where compiled for a GPU that has one, it uses an instruction that is exact.
    m = 2 * math.frexp(largest)[0]
    return dtype == torch.float32 and 1.5 < m < 1.5 + 2.0**-17


def is_left_out_of_compressed_tensors(largest, dtype):
    # The maximum rounds to infinity, the scale becomes infinite, and its byte 127.
    return largest >= 1.75 * 2.0**127


def hex_of(values):
    return bytes(values.contiguous().view(torch.uint8).flatten().tolist()).hex()


def quantized():
    def torchao(mode):
        return lambda weights: by_torchao(weights, mode)

    modes = ScaleCalculationMode
    torchao_name = f"torchao {version('torchao')}"
    compressed_name = f"compressed-tensors {version('compressed-tensors')} mxfp4-pack-quantized"
    # compressed-tensors multiplies by torch.sign() of weight / scale, which is +0 for -0. Negative
    # weights that round to zero do keep their sign, unless that quotient underflows.
    producers = (
        (f"{torchao_name} FLOOR", "ocp", True, torchao(modes.FLOOR), is_left_out_of_floor),
        (f"{torchao_name} RCEIL", "gptoss", True, torchao(modes.RCEIL), is_left_out_of_rceil),
        (f"{torchao_name} EVEN", "even", True, torchao(modes.EVEN), is_left_out_of_even),
        (compressed_name, "even", False, by_compressed_tensors, is_left_out_of_compressed_tensors),
    )
    entries = []
    for name, mode, keeps_signs, quantize, is_left_out in producers:
        for dtype_name, dtype in DTYPES.items():
            # The first weight is in the low half of the first byte.
            _, order = quantize(tensor([[6.0, 0.5, *[0.0] * (BLOCK - 2)]], dtype))
            assert hex_of(order) == "17" + "00" * (BLOCK // 2 - 1)
            weights = inputs(dtype)
            largest = weights.double().abs().amax(-1).tolist()
            left_out = [i for i, x in enumerate(largest) if is_left_out(x, dtype)]
            used = [i for i in range(len(largest)) if i not in left_out]
            scales, blocks = quantize(weights[used])
            assert scales.shape == (len(used),) and blocks.shape == (len(used), BLOCK // 2)
            entries.append(
                {
                    "producer": name,
                    "mode": mode,
                    "dtype": dtype_name,
                    "signs_of_zeros_kept": keeps_signs,
                    "left_out": left_out,
                    "scales": hex_of(scales),
                    "blocks": hex_of(blocks),
                }
            )
    return entries


def decoded():
    """A tensor of experts, in every code and with scales from the least to the greatest."""
    shape = (2, 6, 3, BLOCK // 2)
    generator = torch.Generator().manual_seed(20260102)
    blocks = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    scales = torch.randint(255, shape[:-1], generator=generator, dtype=torch.uint8)
    extremes = (0, 1, 2, 126, 127, 128, 252, 253, 254)
    scales.view(-1)[: len(extremes)] = torch.tensor(extremes, dtype=torch.uint8)
    dense = convert_moe_packed_tensors(blocks, scales)
    assert dense.dtype == torch.bfloat16 and dense.shape == (shape[0], shape[2] * BLOCK, shape[1])
    return {
        "producer": f"transformers {version('transformers')}",
        "shape": shape,
        "blocks": hex_of(blocks),
        "scales": hex_of(scales),
        "bf16": hex_of(dense),
    }


def main():
    packages = ("torch", "torchao", "compressed-tensors", "transformers")
    vectors = {
        "made_by": {
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
        "weights": {name: hex_of(inputs(dtype)) for name, dtype in DTYPES.items()},
        "quantized": quantized(),
        "decoded": decoded(),
    }
    path = Path(__file__).with_name("vectors.json")
    path.write_text(json.dumps(vectors, indent=1) + "\n")


main()
