"""Our safetensors reader and writer beside the reference implementation's."""

import ctypes
import os
import random
import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
from safetensors.numpy import load_file, save, save_file

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("MXFERRY", ROOT / "build/dev/mxferry")).resolve().parent

# The names that the reference's Python package has for the dtypes of the format, with their bytes.
DTYPES = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "float8_e5m2": 1,
    "float8_e4m3fn": 1,
    "float8_e8m0fnu": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "float4_e2m1fn_x2": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "bfloat16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "complex64": 8,
    "float64": 8,
    "int64": 8,
    "uint64": 8,
}
LETTERS = ["a", "B", "0", ".", "_", '"', "\\", "/", "\n", "\x01", "\x7f", "\u00e9", "\ue000"]
LETTERS += ["\U0001f600"]
TOKENS = [b"0", b"1", b"-1", b"-0", b"1.5", b"1e0", b"18446744073709551615", b"null", b"true"]
TOKENS += [b'"U8"', b'"F4"', b'"shape"', b'"__metadata__"', b"[]", b"{}", b"[0,1]", b"[0,0]"]
TOKENS += [b",", b":", b" ", b"\n", b"\t\r", b"a", b"\\n", b"\\u0041", b"\x00", b"\xef\xbb\xbf"]


def copy(pairs):
    """What our reader and writer make of each (in, out): "ok" or the name of an error."""
    files = [str(file) for pair in pairs for file in pair]
    run = subprocess.run(
        [BUILD / "safetensors_copy", *files], check=True, capture_output=True, text=True
    )
    return run.stdout.split()


def random_text(dice):
    return "".join(dice.choices(LETTERS, k=dice.randrange(12)))


def random_file(dice):
    """A file by the reference's writer: any dtypes, shapes with zeros and of rank 0."""
    tensors, buffers = {}, []
    for _ in range(dice.randrange(8)):
        dtype = dice.choice(list(DTYPES))
        shape = [dice.randrange(5) for _ in range(dice.randrange(4))]
        if dtype == "float4_e2m1fn_x2":
            shape.append(2)
        data = dice.randbytes(int(np.prod(shape, dtype=int)) * DTYPES[dtype])
        buffers.append(ctypes.create_string_buffer(data, max(len(data), 1)))
        tensors[random_text(dice)] = safetensors.TensorSpec(
            dtype=dtype, shape=shape, data_ptr=ctypes.addressof(buffers[-1]), data_len=len(data)
        )
    # With more than one key the reference's order is not defined.
    metadata = {random_text(dice): random_text(dice)} if dice.random() < 0.5 else None
    return safetensors.serialize(tensors, metadata)


def header_and_data(header, data=b""):
    return len(header).to_bytes(8, "little") + header + data


def reference_accepts(content):
    try:
        safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return False
    return True


def test_files_of_the_reference_come_back_byte_for_byte(tmp_path):
    dice = random.Random(1)
    contents = [random_file(dice) for _ in range(1000)]
    pairs = [(tmp_path / f"{i}.in", tmp_path / f"{i}.out") for i in range(len(contents))]
    for (source, _), content in zip(pairs, contents, strict=True):
        source.write_bytes(content)
    assert copy(pairs) == ["ok"] * len(pairs)
    for (_, target), content in zip(pairs, contents, strict=True):
        assert target.read_bytes() == content


def test_the_reference_reads_our_files(tmp_path):
    arrays = {
        "a.bf16": np.arange(15).reshape(3, 5).astype(ml_dtypes.bfloat16),
        "b.u8": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "c.f32": np.array(np.pi, np.float32),
        "d.empty": np.zeros((0, 7), np.float16),
    }
    save_file(arrays, tmp_path / "in", {"format": "np"})
    assert copy([(tmp_path / "in", tmp_path / "out")]) == ["ok"]
    ours = load_file(tmp_path / "out")
    assert ours.keys() == arrays.keys()
    for name, array in arrays.items():
        assert ours[name].dtype == array.dtype
        assert ours[name].shape == array.shape
        assert ours[name].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "content",
    [
        header_and_data(b"{}"),
        header_and_data(b"  \n{}\t \r"),
        header_and_data(b'{"__metadata__":null}'),
        header_and_data(b'{"a":["U8",[],[0,1]]}', b"x"),
        header_and_data(b'{"a":["F6_E2M3",[4],[0,3]]}', b"xyz"),
        header_and_data(b'{"a":{"x":[{}],"dtype":"U8","shape":[0],"data_offsets":[0,0],"y":1.5}}'),
        header_and_data(b'{"a":["U8",[2,0],[0,0]],"b":["U8",[1],[0,1]]}', b"x"),
        header_and_data(
            b'{"a":{"x":'
            + b"[" * 125
            + b"]" * 125
            + b',"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
        ),
    ],
)
def test_we_accept_the_oddities_that_the_reference_accepts(tmp_path, content):
    (tmp_path / "in").write_bytes(content)
    assert reference_accepts(content)
    assert copy([(tmp_path / "in", tmp_path / "out")]) == ["ok"]


def damaged(content, dice):
    """The file with a few bytes of its header replaced, inserted or removed."""
    end = 8 + int.from_bytes(content[:8], "little")
    header, data = bytearray(content[8:end]), content[end:]
    for _ in range(dice.randrange(1, 3)):
        place = dice.randrange(len(header))
        header[place : place + dice.randrange(3)] = (
            dice.choice(TOKENS) if dice.random() < 0.6 else dice.randbytes(1)
        )
    return header_and_data(bytes(header), data)


def test_we_refuse_the_damaged_files_that_the_reference_refuses(tmp_path):
    dice = random.Random(2)
    contents = [damaged(random_file(dice), dice) for _ in range(3000)]
    pairs = [(tmp_path / f"{i}.in", tmp_path / f"{i}.out") for i in range(len(contents))]
    for (source, _), content in zip(pairs, contents, strict=True):
        source.write_bytes(content)
    answers = copy(pairs)
    assert len(answers) == len(contents)
    accepted = [reference_accepts(content) for content in contents]
    assert 50 < sum(accepted) < 2950
    assert [answer == "ok" for answer in answers] == accepted


def test_the_seeds_of_the_fuzz_targets_are_judged_as_the_reference_judges_them(tmp_path):
    seeds = sorted((ROOT / "fuzz/corpus/file").iterdir())
    answers = copy([(seed, tmp_path / seed.name) for seed in seeds])
    accepted = {seed.stem for seed, answer in zip(seeds, answers, strict=True) if answer == "ok"}
    theirs = {seed.stem for seed in seeds if reference_accepts(seed.read_bytes())}
    assert len(accepted) > 5
    assert theirs - accepted <= {"twice"}
    assert accepted <= theirs


def test_what_we_refuse_beyond_the_reference_is_known(tmp_path):
    twice = header_and_data(b'{"a":["U8",[0],[0,0]],"a":["U8",[0],[0,0]]}')
    metadata_twice = header_and_data(b'{"__metadata__":{"a":"1","a":"2"}}')
    for content in [twice, metadata_twice]:
        (tmp_path / "in").write_bytes(content)
        assert reference_accepts(content)
        assert copy([(tmp_path / "in", tmp_path / "out")]) == ["duplicate_key"]


def test_names_are_sorted_as_the_reference_sorts_them(tmp_path):
    names = ["\ue000", "\U00010000", "a", "B", "a.10", "a.2", ""]
    content = save({name: np.zeros(1, np.uint8) for name in names})
    (tmp_path / "in").write_bytes(content)
    assert copy([(tmp_path / "in", tmp_path / "out")]) == ["ok"]
    assert (tmp_path / "out").read_bytes() == content
