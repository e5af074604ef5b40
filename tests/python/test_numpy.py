"""Weights as numpy arrays. Runs in an environment that has nothing but numpy, too."""

import gc
import importlib.util
import threading

import mxferry
import numpy as np
import pytest

FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
FP4 = np.concatenate([FP4, -FP4])


def decoded(blocks, scales):
    """The definition: [experts, out, in] in float32."""
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*scales.shape, -1)
    with np.errstate(over="ignore"):
        weights = np.ldexp(FP4[codes], scales.astype(np.int32)[..., None] - 127)
    return weights.reshape(*scales.shape[:2], -1)


def bits_of_bfloat16(array):
    return (array.view(np.uint32) >> 16).astype(np.uint16)


def same_bits(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def test_float32_is_the_definition(wild):
    blocks, scales = wild
    expected = decoded(blocks, scales)
    rows = mxferry.dequantize(blocks, scales, "float32", transpose=False)
    assert rows.dtype == np.float32 and same_bits(rows, expected)
    transposed = mxferry.dequantize(blocks, scales, np.float32)
    assert same_bits(transposed, np.ascontiguousarray(expected.transpose(0, 2, 1)))


def test_bfloat16_is_that_of_ml_dtypes_or_its_bits(wild):
    blocks, scales = wild
    dense = mxferry.dequantize(blocks, scales)
    has_bfloat16 = importlib.util.find_spec("ml_dtypes") is not None
    assert dense.dtype.name == ("bfloat16" if has_bfloat16 else "uint16")
    exact = mxferry.dequantize(blocks, scales, "float32")
    finite = np.isfinite(exact)
    assert same_bits(dense.view(np.uint16)[finite], bits_of_bfloat16(exact)[finite])


def test_float16_rounds_to_nearest_even(wild):
    blocks, scales = wild
    with np.errstate(over="ignore"):
        expected = mxferry.dequantize(blocks, scales, "float32").astype(np.float16)
    assert same_bits(mxferry.dequantize(blocks, scales, np.dtype("float16")), expected)


def test_scale_255_is_nan(wild):
    blocks, scales = wild
    scales[1, 2, 3] = 255
    dense = mxferry.dequantize(blocks, scales, "float32", transpose=False)
    assert np.isnan(dense[1, 2, 96:128]).all()
    assert np.isnan(dense).sum() == 32


def test_blocks_of_any_number_of_bytes(wild):
    blocks, scales = wild
    for count in (1, 3):
        few = np.ascontiguousarray(blocks[..., :count])
        dense = mxferry.dequantize(few, scales, "float32", transpose=False)
        assert same_bits(dense, decoded(few, scales))


def test_decodes_into_memory_that_is_there(wild):
    blocks, scales = wild
    expected = mxferry.dequantize(blocks, scales, "float32")
    out = np.empty_like(expected)
    assert mxferry.dequantize(blocks, scales, out=out) is out
    assert same_bits(out, expected)


def test_inputs_may_be_read_only_or_have_gaps(wild):
    blocks, scales = wild
    expected = mxferry.dequantize(blocks, scales)
    blocks.flags.writeable = False
    assert same_bits(mxferry.dequantize(blocks, np.asfortranarray(scales)), expected)
    wide = np.repeat(blocks, 2, axis=1)[:, ::2]
    assert same_bits(mxferry.dequantize(wide, scales), expected)


def test_an_empty_tensor_is_no_special_case(wild):
    blocks, scales = wild
    assert mxferry.dequantize(blocks[:0], scales[:0]).shape == (0, 160, 70)
    packed = mxferry.quantize(np.empty((0, 160, 70), np.float32))
    assert [x.shape for x in packed] == [(0, 70, 5, 16), (0, 70, 5)]


def test_there_and_back(tame):
    for dtype in ("bfloat16", "float16", "float32"):
        dense = mxferry.dequantize(*tame, dtype)
        # Without a reference the values return, with it the bytes (but for codes of no effect).
        assert same_bits(mxferry.dequantize(*mxferry.quantize(dense), dtype), dense)
        blocks, scales = mxferry.quantize(dense, reference_scales=tame[1])
        assert same_bits(scales, tame[1]) and same_bits(blocks, tame[0])


def test_bits_of_bfloat16_quantize_as_their_values(tame):
    exact = mxferry.dequantize(*tame, "float32")
    blocks, scales = mxferry.quantize(bits_of_bfloat16(exact))
    assert all(
        same_bits(a, b) for a, b in zip((blocks, scales), mxferry.quantize(exact), strict=True)
    )


def test_modes_differ_where_they_say(tame):
    weight = np.zeros((1, 32, 1), np.float32)
    weight[0, 0, 0] = 7
    scales = {mode: mxferry.quantize(weight, mode)[1].item() for mode in ("gptoss", "ocp")}
    assert scales == {"gptoss": 128, "ocp": 127}


def test_the_memory_lives_as_long_as_a_view_of_it(wild):
    expected = decoded(*wild)
    part = mxferry.dequantize(*wild, "float32", transpose=False)[1:]
    gc.collect()
    mxferry.dequantize(*wild, "float32")
    assert same_bits(part, expected[1:])


def test_other_threads_run_meanwhile():
    blocks = np.zeros((8, 2048, 64, 16), np.uint8)
    scales = np.full(blocks.shape[:-1], 127, np.uint8)
    out = np.zeros((8, 2048, 2048), np.float32)
    calls, done = [], threading.Event()

    def count():
        while not done.is_set():
            calls.append(done.wait(0.0005))

    thread = threading.Thread(target=count)
    thread.start()
    before = len(calls)
    for _ in range(5):
        mxferry.dequantize(blocks, scales, out=out)
    after = len(calls)
    done.set()
    thread.join()
    assert after > before


@pytest.mark.parametrize(
    ("code", "category", "call"),
    [
        ("wrong_shape", "source", lambda b, s: mxferry.dequantize(b, s[:1])),
        ("wrong_shape", "source", lambda b, s: mxferry.dequantize(s, s)),
        ("wrong_dtype", "source", lambda b, s: mxferry.dequantize(b.astype(np.int64), s)),
        ("wrong_dtype", "source", lambda b, s: mxferry.dequantize(b.astype(np.complex64), s)),
        ("invalid_argument", "usage", lambda b, s: mxferry.dequantize(b, s, "int8")),
        ("invalid_argument", "usage", lambda b, s: mxferry.dequantize(b, s, out=np.zeros((1, 1)))),
        ("wrong_shape", "source", lambda b, s: mxferry.dequantize(b, s, out=s.astype("f4"))),
        (
            "wrong_shape",
            "source",
            lambda b, s: mxferry.dequantize(b, s, out=np.zeros((3, 160, 140), "f4")[:, :, ::2]),
        ),
        ("wrong_dtype", "source", lambda b, s: mxferry.quantize(np.zeros((1, 32, 1)))),
        ("wrong_shape", "source", lambda b, s: mxferry.quantize(np.zeros((1, 33, 1), "f4"))),
        (
            "nonfinite_weight",
            "source",
            lambda b, s: mxferry.quantize(np.full((1, 32, 1), np.nan, "f4")),
        ),
        (
            "invalid_argument",
            "usage",
            lambda b, s: mxferry.quantize(np.zeros((1, 32, 1), "f4"), "mx"),
        ),
        (
            "wrong_shape",
            "source",
            lambda b, s: mxferry.quantize(np.zeros((1, 32, 1), "f4"), reference_scales=s),
        ),
    ],
)
def test_errors_have_a_code_and_a_category(wild, code, category, call):
    with pytest.raises(mxferry.Error) as raised:
        call(*wild)
    assert (raised.value.code, raised.value.category) == (code, category)
    assert raised.value.found in str(raised.value) and str(raised.value).isprintable()


def test_what_is_no_array_is_a_type_error():
    with pytest.raises(TypeError):
        mxferry.dequantize([1], [2])
