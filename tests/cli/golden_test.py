"""The bytes of conversions, compared with those of every release before: golden.json.

A change that means to change them records them anew: `python3 golden_test.py --record`, with
MXFERRY as for every test, and says so in CHANGELOG.md.
"""

import hashlib
import itertools
import json
import sys
import unittest
from pathlib import Path

from command import CommandTest

GOLDEN = Path(__file__).with_name("golden.json")

# Hidden and intermediate size differ, and neither is a power of two.
SIZES = ["--layers", "2", "--experts", "3", "--hidden", "96", "--intermediate", "160"]
SIZES += ["--vocab", "64", "--seed", "11"]
SOURCES = {
    "hf mxfp4": ["--to", "hf"],
    "hf bf16": ["--to", "hf", "--dtype", "bf16"],
    "nemo bf16": ["--to", "nemo"],
    "original mxfp4": ["--to", "original"],
    "original bf16": ["--to", "original", "--dtype", "bf16"],
    "wild": ["--to", "hf", "--wild"],
    "torchtitan": ["--to", "torchtitan"],
    "unsloth": ["--to", "unsloth"],
    "mlx mxfp4": ["--to", "mlx"],
    "mlx bf16": ["--to", "mlx", "--dtype", "bf16"],
    "compressed-tensors mxfp4": ["--to", "compressed-tensors"],
    "compressed-tensors bf16": ["--to", "compressed-tensors", "--dtype", "bf16"],
}
TARGETS = [["--to", "hf"], ["--to", "nemo"], ["--to", "nemo", "--attn", "te"], ["--to", "original"]]
TARGETS += [["--to", "torchtitan"], ["--to", "unsloth"], ["--to", "mlx"]]
TARGETS += [["--to", "compressed-tensors"]]
DTYPES = [[], *(["--dtype", dtype] for dtype in ("bf16", "f16", "f32", "mxfp4"))]
MORE = [
    *(["hf bf16", "--to", "hf", "--dtype", "mxfp4", "--quant-mode", m] for m in ("ocp", "even")),
    ["hf bf16", "--to", "hf", "--dtype", "mxfp4", "--quant-mode", "best"],
    ["hf bf16", "--to", "original", "--dtype", "mxfp4", "--reference", "hf mxfp4"],
    ["hf bf16", "--to", "hf", "--dtype", "f16", "--dense-dtype", "f32"],
    ["hf mxfp4", "--to", "nemo", "--dtype", "f32", "--max-shard-size", "100KB", "--checksum"],
    ["hf mxfp4", "--to", "nemo", "--exclude", ".*router.*"],
    ["hf mxfp4", "--to", "nemo", "--dcp-shards", "3"],
    ["wild", "--to", "hf", "--dtype", "f32", "--allow-nonfinite"],
    ["wild", "--to", "original", "--dtype", "bf16", "--allow-nonfinite"],
]


def conversions() -> list[list[str]]:
    usual = itertools.product(SOURCES, TARGETS, DTYPES)
    return [*([source, *target, *dtype] for source, target, dtype in usual), *MORE]


def digest_of(folder: Path) -> str:
    """Of all names and contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()[:32]


class Golden(CommandTest):
    def results(self) -> dict[str, str]:
        """A digest of every sample and conversion, or how it is refused."""
        results = {}
        for name, options in SOURCES.items():
            results[f"sample {name}"] = digest_of(self.sample(name, *SIZES, *options))
        for number, (source, *options) in enumerate(conversions()):
            target = self.folder / str(number)
            report = self.convert(source, target.name, *options, "--json", code=None).json
            error = report.get("error", {}).get("code", "")
            results[" ".join([source, *options])] = error or digest_of(target)
        return results

    def test_the_bytes_are_those_of_before(self):
        self.maxDiff = None
        self.assertEqual(self.results(), json.loads(GOLDEN.read_text()))


def record():
    case = Golden()
    case.setUp()
    GOLDEN.write_text(json.dumps(case.results(), indent=1) + "\n")
    case.doCleanups()


if __name__ == "__main__":
    record() if "--record" in sys.argv else unittest.main()
