"""Writes the seeds of the fuzz targets, fuzz/corpus/TARGET/NAME.bin: valid inputs and the invalid
ones of the tests, as small as they show what they show. Inputs that a fuzzer found stand beside
them, under names that begin with "found_".

usage: make_seeds.py [--check]   with --check it writes nothing and compares
"""

import json
import sys
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
EXPERTS = "model.layers.0.mlp.experts."


def file(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def overlapping(count: int) -> bytes:
    entry = '{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
    return ("{" + ",".join(f'"weight_{i}":{entry}' for i in range(count)) + "}").encode()


HEADERS = {
    "empty": b"{}",
    "white_space": b" \n\t\r{} \n",
    "one": b'{"a":{"dtype":"U8","shape":[2,3],"data_offsets":[0,6]}}',
    "metadata": b'{"__metadata__":{"format":"pt"},"a":["BF16",[2],[0,4]]}',
    "null_metadata": b'{"__metadata__":null}',
    "rank_0": b'{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}',
    "zero_size": b'{"a":["F32",[2,0,3],[0,0]],"b":["U8",[1],[0,1]]}',
    "unknown_fields": b'{"a":{"x":[{"y":-1.5e3}],"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    "sub_byte": b'{"a":["F4",[2,2],[0,2]],"b":["F6_E2M3",[4],[2,5]]}',
    "packed": (
        f'{{"{EXPERTS}down_proj_blocks":{{"dtype":"U8","shape":[1,2,1,16],"data_offsets":[0,32]}},'
        f'"{EXPERTS}down_proj_scales":{{"dtype":"U8","shape":[1,2,1],"data_offsets":[32,34]}}}}'
    ).encode(),
    "escapes": b'{"\\u0041\\ud83d\\ude00\\n\\u0000\\"\\\\":["U8",[],[0,1]]}',
    "not_utf8": b'{"\xff":["U8",[],[0,1]]}',
    "nul": b'{"a\x00":["U8",[],[0,1]]}',
    "no_json": b"hello",
    "cut": b'{"a":{"dtype":"U8","shape":[2,3],"data_of',
    "overlap": overlapping(10),
    "hole": b'{"a":["U8",[1],[0,1]],"b":["U8",[1],[2,3]]}',
    "backwards": b'{"a":["U8",[1],[1,0]]}',
    "wrong_size": b'{"a":["U8",[2],[0,3]]}',
    "twice": b'{"a":["U8",[0],[0,0]],"a":["U8",[0],[0,0]]}',
    "field_twice": b'{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    "product_overflows": b'{"a":["F64",[4294967296,4294967296,2],[0,0]]}',
    "size_overflows": b'{"a":["U8",[9223372036854775808],[0,0]]}',
    "bits_overflow": b'{"a":["C64",[1152921504606846976],[0,0]]}',
    "misaligned": b'{"a":["F4",[3],[0,1]]}',
    "offsets_at_the_top": b'{"a":["U8",[1],[18446744073709551615,18446744073709551615]]}',
    "negative": b'{"a":["U8",[-1],[0,0]]}',
    "fraction": b'{"a":["U8",[1.5],[0,1]]}',
    "unknown_dtype": b'{"a":["U9",[1],[0,1]]}',
    "metadata_of_numbers": b'{"__metadata__":{"a":1}}',
    "nesting": b'{"a":{"x":' + b"[" * 140,
    "trailing": b'{"a":["U8",[1],[0,1]]}x',
    "number_of_a_thousand_digits": b'{"a":["U8",[' + b"9" * 1000 + b"],[0,1]]}",
}

FILES = {
    name: file(header, bytes(range(34)))
    if name == "packed"
    else file(header, bytes(6 if name == "one" else 0))
    for name, header in HEADERS.items()
} | {
    "shorter_than_a_length": b"\x02\0\0",
    "length_of_nothing": file(b""),
    "length_beyond_the_end": file(b"{}", length=3),
    "length_of_100_mb": file(b"{}", length=100_000_000),
    "length_beyond_the_limit": file(b"{}", length=100_000_001),
    "length_at_the_top": file(b"{}", length=2**64 - 1),
    "length_that_is_negative": file(b"{}", length=2**63),
    "data_too_long": file(HEADERS["one"], bytes(7)),
    "data_too_short": file(HEADERS["one"], bytes(5)),
    "git_lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
}

INDEXES = {
    "usual": json.dumps(
        {"metadata": {"total_size": 34}, "weight_map": {"a": "m-1.safetensors", "b": "m/2"}}
    ).encode(),
    "no_metadata": b'{"weight_map":{}}',
    "float_size": b'{"metadata":{"total_size":3.0,"x":[1]},"weight_map":{},"y":{"z":null}}',
    "up": b'{"weight_map":{"a":"../m"}}',
    "absolute": b'{"weight_map":{"a":"/etc/passwd"}}',
    "dot": b'{"weight_map":{"a":"./m"}}',
    "empty_name": b'{"weight_map":{"a":""}}',
    "escape": b'{"weight_map":{"a":"m\\u001b[2J"}}',
    "nul": b'{"weight_map":{"a":"m\\u0000"}}',
    "twice": b'{"weight_map":{"a":"m","a":"m"}}',
    "map_twice": b'{"weight_map":{},"weight_map":{}}',
    "list": b"[]",
    "nesting": b'{"x":' + b"[" * 140,
    "none": b"{}",
}

CONFIGS = {
    "hf": json.dumps(
        {
            "num_hidden_layers": 2,
            "num_local_experts": 4,
            "hidden_size": 64,
            "intermediate_size": 96,
            "head_dim": 64,
            "vocab_size": 1024,
            "rope_scaling": {"factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0},
            "quantization_config": {"quant_method": "mxfp4"},
            "torch_dtype": "bfloat16",
        }
    ).encode(),
    "original": json.dumps(
        {
            "num_hidden_layers": 2,
            "num_experts": 4,
            "hidden_size": 64,
            "intermediate_size": 96,
            "rope_scaling_factor": 32.0,
            "initial_context_length": 4096,
        }
    ).encode(),
    "empty": b"{}",
    "list": b"[1]",
    "cut": b'{"hidden_size": 64,',
    "negative": b'{"hidden_size": -64}',
    "text": b'{"hidden_size": "64"}',
    "too_large": b'{"hidden_size": 2147483648}',
    "many_layers": b'{"num_experts": 1, "num_hidden_layers": 1000000}',
    "huge_context": b'{"num_experts": 1, "rope_scaling_factor": 1e300, '
    b'"initial_context_length": 1e300}',
    "odd_types": b'{"num_experts": null, "rope_theta": [], "vocab_size": {}}',
    "null_scaling": b'{"rope_scaling": null}',
    "nesting": b'{"x":' + b"[" * 40 + b"]" * 40 + b"}",
}

PATTERNS = {
    "usual": rb".*\.bias$",
    "extra_state": b".*_extra_state.*\nmodel.layers.0._extra_state",
    "alternatives": b"(lm_head|model\\.embed)\nlm_head.weight",
    "look_ahead": b"(?!model)\nx",
    "look_behind": b"(?<=a)b\nab",
    "class": b"[^]a-z[:alpha:]]+\n]",
    "escapes": b"\\Z\\v\\u0041\\U00000041\\x41\\w\\b\\d\nA",
    "repetition": b"a{,3}b{2}c{\nabbc{",
    "conditional": b"(a)?(?(1)b|c)\nab",
    "flags": b"(?i:MODEL)(?x: a )\nmodela",
    "back_reference": b"(?P<x>a)(?P=x)\\1\naaa",
    "comment": b"(?#x)a\na",
    "catastrophe": b"(a+)+$\n" + b"a" * 40 + b"!",
    "recursion": b"(?R)\na",
    "verb": b"(*ACCEPT)a\na",
    "open_group": b"((((((((((",
    "open_class": b"[a",
    "backslash": b"\\",
    "reversed": b"a{3,1}",
    "not_utf8": b"\xff\n\xff",
    "many_groups": b"(" * 300 + b")" * 300,
}

SIZES = [
    "1",
    "5GB",
    "512 MiB",
    "0",
    "",
    "1e3",
    "-1",
    "18446744073709551615",
    "18446744073709551616",
]
SIZES += ["16777216TiB", "18446744073709551615 b", "1 kIb", "1K", "1 GB ", " 1", "1iB", "1\x00"]

TEXTS = {
    "plain": b"model.layers.0.mlp.experts.gate_up_proj_blocks",
    "clear_screen": b"\x1b[2J\x1b]0;title\x07",
    "c1": b"\xc2\x9b2J\x9b2J",
    "bidirectional": "a\u202eb\u2066c".encode(),
    "lines": "a\nb\rc\u2028d\u2029".encode(),
    "markup": b"<script>alert('x')</script>\"onload=x&amp;",
    "unseen": "a\u200bb\ufeffc\u00ad\U000e0041".encode(),
    "emoji": "\U0001f600\u00e9".encode(),
    "noncharacters": "\ufdd0\uffff\U0010ffff".encode(),
    "overlong": b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond": b"\xf4\x90\x80\x80",
    "cut": b"a\xe2\x80",
}

HUB_NAMES = {
    "usual": b"org/name",
    "revision": b"org/name@c0ffee",
    "branch": b"org/name@main",
    "commit_and_line_feed": b"org/name\nc0ffee\n",
    "up": b"org/..@../../secret",
    "revision_up": b"org/name@../secret",
    "ref_up": b"org/name\n../../../secret",
    "ref_absolute": b"org/name\n/etc",
    "ref_nul": b"org/name\nc0ffee\x00",
    "long": b"org/" + b"n" * 300,
    "other": b"org/other",
    "three_parts": b"a/b/c",
    "revision_nul": b"org/name@\x00",
    "revision_of_a_folder": b"org/name@.",
}


def kernels(first: list[list[int]]) -> dict[str, bytes]:
    """Choices, and bytes that no arithmetic progression is."""
    bytes_ = bytes((i * i * 31 + i * 7) % 256 for i in range(200))
    return {"_".join(map(str, choices)): bytes(choices) + bytes_ for choices in first}


# dtype, order, rows, groups, gap, offset, stores, gaps of blocks and scales.
DECODES = kernels(
    [
        [dtype, order, rows, groups, gap, offset, stores, gap, gap]
        for dtype in range(3)
        for order, rows, groups, gap, offset, stores in [
            (0, 1, 1, 0, 0, 0),
            (1, 64, 3, 0, 0, 1),
            (1, 70, 2, 5, 3, 1),
            (0, 33, 6, 0, 1, 1),
        ]
    ]
)
# dtype, order, rows, groups, gap, offset, mode, stores, saturate, reference, not finite.
ENCODES = kernels(
    [
        [dtype, order, rows, groups, gap, 0, mode, mode % 2, 0, mode % 2, rows == 9]
        for dtype in range(3)
        for mode in range(4)
        for order, rows, groups, gap in [(0, 9, 2, 1), (1, 70, 3, 0)]
    ]
)
# Of the target: layout, attn, dtype. Orientation. Of the model: square, layers, experts. Config.
# Of the source: layout, attn, packed, dtype, swapped. Number of changes.
PLANS = kernels(
    [
        [to, 0, 1, codec, 0, square, 0, 0, config, layout, 0, packed, 0, 0, changes]
        for to, codec, layout, packed in [
            (0, 0, 0, 1),
            (0, 3, 1, 0),
            (0, 3, 2, 1),
            (1, 0, 0, 0),
            (1, 2, 2, 0),
            (2, 0, 0, 1),
            (2, 3, 1, 0),
            (2, 1, 2, 1),
        ]
        for square, config, changes in [(0, 0, 0), (0, 1, 2), (1, 2, 11)]
    ]
)
# dtype, attn, shard size, memory, threads, layers, experts, hidden, intermediate, wild.
STREAMS = kernels(
    [
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        [1, 1, 1, 0, 1, 1, 3, 1, 2, 0],
        [2, 0, 2, 1, 2, 1, 2, 3, 1, 0],
        [0, 1, 3, 2, 0, 0, 1, 9, 8, 1],
        [2, 0, 0, 0, 1, 0, 1, 2, 0, 1],
        [1, 0, 1, 2, 2, 0, 3, 5, 9, 1],
    ]
)

SHARDING = {
    "usual": b'{"a": {"saved_offsets": [4, 0]}, "b": {"saved_offsets": []}}',
    "later_fields": b'{"a":{"x":[[8],{"y":-1.5}],"saved_offsets":[0,0]},"b":{"saved_offsets":[]}}',
    "at_the_end": b'{"a":{"saved_offsets":[9223372036854775805,0]},"b":{"saved_offsets":[]}}',
    "beyond_the_end": b'{"a":{"saved_offsets":[9223372036854775806,0]},"b":{"saved_offsets":[]}}',
    "negative": b'{"a":{"saved_offsets":[-1,0]},"b":{"saved_offsets":[]}}',
    "other_dimensions": b'{"a":{"saved_offsets":[1]},"b":{"saved_offsets":[]}}',
    "lacks_one": b'{"a":{"saved_offsets":[1,1]}}',
    "one_more": b'{"a":{"saved_offsets":[1,1]},"b":{"saved_offsets":[]},"c":{"saved_offsets":[]}}',
    "twice": b'{"a":{"saved_offsets":[0,0]},"a":{"saved_offsets":[0,0]}}',
    "nesting": b'{"a":{"x":' + b"[" * 140,
    "list": b"[]",
    "none": b"{}",
}

# Dimensions, files, and of each file by dimension where its chunk begins and how long it is.
CHUNKS = kernels(
    [
        [1, 1, 0, 3, 3, 2],
        [2, 3, 0, 2, 0, 2, 0, 2, 2, 2, 2, 2, 0, 2, 2, 2, 2, 2],
        [2, 1, 0, 2, 0, 2, 1, 2, 0, 2],
        [2, 1, 0, 2, 0, 2, 3, 1, 0, 2],
        [3, 0, 0, 4, 0, 4, 0, 4],
        [1, 2, 0, 4, 4, 0, 4, 0],
        [0, 0],
        [0, 1],
    ]
)

ZEROS = b"0" * 64
MANIFESTS = {
    "usual": ZEROS + b"  a\n" + b"f" * 64 + b" *original/b\n",
    "escaped": b"\\" + ZEROS + b"  a\\nb\\\\c\n",
    "escape_of_nothing": b"\\" + ZEROS + b"  a\\",
    "comment": b"# made by hand\n\n" + ZEROS + b"  a",
    "up": ZEROS + b"  ../a\n",
    "absolute": ZEROS + b"  /a\n",
    "nul": ZEROS + b"  a\0\n",
    "short": ZEROS[1:] + b"  a\n",
    "twice": ZEROS + b"  a\n" + b"1" * 64 + b"  a\n",
    "none": b"",
}

SEEDS = {
    "chunks": CHUNKS,
    "config": {k: bytes([i]) + v for i, (k, v) in enumerate(CONFIGS.items())},
    "decode": DECODES,
    "encode": ENCODES,
    "file": FILES,
    "header": HEADERS,
    "hub_name": HUB_NAMES,
    "index": INDEXES,
    "manifest": MANIFESTS,
    "plan": PLANS,
    "regex": PATTERNS,
    "sharding": SHARDING,
    "size": {f"size_{i}": text.encode() for i, text in enumerate(SIZES)},
    "streamed": STREAMS,
    "text": TEXTS,
}


def wrong_files() -> list[str]:
    """The seeds that the corpus lacks or has otherwise, and those that it has too many."""
    wanted = {
        CORPUS / target / f"{name}.bin": content
        for target, seeds in SEEDS.items()
        for name, content in seeds.items()
    }
    wrong = [str(path) for path, content in wanted.items() if not has(path, content)]
    there = {path for path in CORPUS.rglob("*") if path.is_file()}
    found = {path for path in there if path.name.startswith("found_")}
    return wrong + [str(path) for path in there - found - wanted.keys()]


def has(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def write_files() -> None:
    for target, seeds in SEEDS.items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for name, content in seeds.items():
            (CORPUS / target / f"{name}.bin").write_bytes(content)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        wrong = wrong_files()
        sys.exit("not as make_seeds.py makes them: " + ", ".join(wrong) if wrong else 0)
    write_files()
