"""The Python package against Transformers and PyTorch in one process, on as many threads as both may use.

    python package.py CHECKPOINT

CHECKPOINT is a true-sized layer of gpt-oss-20b in MXFP4. Prints rows as JSON: what, value, unit, bound (at least
where the unit is "x", at most elsewhere), note. Results are compared with those of Transformers.
"""

import gc
import json
import os
import statistics
import sys
import time
import timeit
from pathlib import Path
from types import SimpleNamespace

import mxferry
import torch
from paired import PAIRS
from safetensors.torch import load_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

NAME = "model.layers.0.mlp.experts.gate_up_proj"


def seconds(function) -> tuple[float, object]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def compare(functions: dict, pairs: int = PAIRS) -> dict[str, float]:
    """Median seconds of each, run one after another, again and again.

    Each right after an unmeasured run of its own: a virtual machine hands memory that lies free for a while back to
    its host, and the next one to touch it waits for the host.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(pairs):
        for name, function in functions.items():
            function()
            times[name].append(seconds(function)[0])
    return {name: statistics.median(all_times) for name, all_times in times.items()}


def status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def peak_above(function) -> int:
    """Bytes that the process needed more than before, while the function ran."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS:")
    function()
    return status_bytes("VmHWM:") - before


def dequantize_rows(tensors: dict) -> list[dict]:
    blocks, scales = tensors[f"{NAME}_blocks"], tensors[f"{NAME}_scales"]
    theirs = convert_moe_packed_tensors(blocks, scales)
    out = torch.empty_like(theirs).copy_(theirs).zero_()
    assert mxferry.dequantize(blocks, scales).equal(theirs)
    assert mxferry.dequantize(blocks, scales, out=out).equal(theirs)
    del theirs
    times = compare(
        {
            "transformers": lambda: convert_moe_packed_tensors(blocks, scales),
            "new": lambda: mxferry.dequantize(blocks, scales),
            "existing": lambda: mxferry.dequantize(blocks, scales, out=out),
        }
    )
    one = (
        torch.zeros((1, 1, 1, 16), dtype=torch.uint8),
        torch.full((1, 1, 1), 127, dtype=torch.uint8),
    )
    calls = 2000
    overhead = min(timeit.repeat(lambda: mxferry.dequantize(*one), number=calls, repeat=5)) / calls

    def row(what: str, key: str, bound: float) -> dict:
        note = f"{times[key]:.3f} s against {times['transformers']:.2f} s"
        return {
            "what": f"dequantize of one gate_up tensor into {what} memory, of Transformers' function",
            "value": times["transformers"] / times[key],
            "unit": "x",
            "bound": bound,
            "note": note,
        }

    return [
        row("new", "new", 30),
        row("existing", "existing", 100),
        {
            "what": "call of dequantize on one block",
            "value": overhead * 1e6,
            "unit": "us",
            "bound": 20,
            "note": "",
        },
    ]


def from_hf_row(files: list[Path]) -> dict:
    state_dict = load_all(files)
    pair = sum(state_dict[f"{NAME}{x}"].nbytes for x in ("_blocks", "_scales"))
    # Tensors of safetensors lie in mapped files; the packed ones become memory of the process.
    state_dict = {name: tensor.clone() for name, tensor in state_dict.items()}
    adapter = mxferry.GPTOSSStateDictAdapter(None, None, SimpleNamespace(attn="flex"))
    result = sum(2 * t.nbytes * 2 for n, t in state_dict.items() if n.endswith("_blocks"))
    above = peak_above(lambda: adapter.from_hf(state_dict)) - result
    packed = load_all(files)
    expected = convert_moe_packed_tensors(packed[f"{NAME}_blocks"], packed[f"{NAME}_scales"])
    assert state_dict["model.layers.0.mlp.experts.gate_and_up_projs"].equal(expected)
    bound = (pair + (64 << 20)) / 1e6
    return {
        "what": "from_hf of one layer, peak above its input and its result",
        "value": above / 1e6,
        "unit": "MB",
        "bound": bound,
        "note": "negative where packed tensors are freed before all are decoded",
    }


def load_all(files: list[Path]) -> dict:
    tensors: dict = {}
    for file in files:
        tensors |= load_file(file)
    return tensors


def load_rows(checkpoint: Path, files: list[Path]) -> list[dict]:
    lazy = mxferry.open_checkpoint(checkpoint, layout="hf")
    names = list(lazy)
    state_dict = {
        name: torch.zeros(lazy.get_slice(name).get_shape(), dtype=torch.bfloat16) for name in names
    }

    def theirs() -> dict:
        tensors = load_all(files)
        dense = {n: t for n, t in tensors.items() if not n.endswith(("_blocks", "_scales"))}
        for name in names:
            if name not in dense:
                dense[name] = convert_moe_packed_tensors(
                    tensors[name + "_blocks"], tensors[name + "_scales"]
                )
        return dense

    def ours() -> None:
        mxferry.load_into(state_dict, checkpoint, layout="hf")

    above = peak_above(ours)
    expected = theirs()
    assert all(state_dict[name].equal(expected[name]) for name in names)
    del expected
    times = compare({"transformers": theirs, "ours": ours})
    return [
        {
            "what": "load_into of one layer, of loading by safetensors and converting by Transformers",
            "value": times["transformers"] / times["ours"],
            "unit": "x",
            "bound": 15,
            "note": f"{times['ours']:.3f} s against {times['transformers']:.2f} s",
        },
        {
            "what": "load_into of one layer, peak above its destination",
            "value": above / 1e6,
            "unit": "MB",
            "bound": 64,
            "note": "",
        },
    ]


def main(checkpoint: Path) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    files = sorted(checkpoint.glob("*.safetensors"))
    rows = load_rows(checkpoint, files)
    rows.append(from_hf_row(files))
    rows += dequantize_rows(load_all(files))
    print(json.dumps(rows, indent=2))


main(Path(sys.argv[1]))
