"""docs/cpp.md shows the programs in examples/, and they do what the page says."""

import json
import os
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXPERTS, ROWS, GROUPS = 2, 3, 1
LAYER = "model.layers.0.mlp."


def write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]):
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    return {
        name: (entry["dtype"], entry["shape"], content[start:][slice(*entry["data_offsets"])])
        for name, entry in json.loads(content[8:start]).items()
    }


def run(example: str, *arguments: object) -> subprocess.CompletedProcess:
    program = Path(os.environ["EXAMPLES"], f"example_{example}")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)


class Examples(unittest.TestCase):
    def test_are_shown(self):
        sources = list((ROOT / "examples").glob("*.cc"))
        self.assertTrue(sources)
        for source in sources:
            shown = f"```cpp\n{source.read_text()}```\n"
            self.assertIn(shown, (ROOT / "docs/cpp.md").read_text(), source.name)


class FromHf(unittest.TestCase):
    def test_decodes_and_renames(self):
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.safetensors"), Path(folder, "out.safetensors")
            # The first weight of a block is -6, the others are 0.5; the scale of row r is 2^r.
            block = bytes([0x1F] + [0x11] * 15)
            scales = bytes([127, 128, 129])
            write_safetensors(
                source,
                {
                    LAYER + "experts.down_proj_blocks": (
                        "U8",
                        [EXPERTS, ROWS, GROUPS, 16],
                        block * EXPERTS * ROWS * GROUPS,
                    ),
                    LAYER + "experts.down_proj_scales": (
                        "U8",
                        [EXPERTS, ROWS, GROUPS],
                        scales * EXPERTS,
                    ),
                    LAYER + "router.bias": ("BF16", [EXPERTS], b"abcd"),
                },
            )
            result = run("from_hf", source, target)
            self.assertEqual(result.returncode, 0, result.stderr)
            # BF16: the high half of the same number in FP32.
            values = [-6.0, -12.0, -24.0] + [0.5, 1.0, 2.0] * 31
            expected = b"".join(struct.pack("<f", value)[2:] for value in values) * EXPERTS
            self.assertEqual(
                read_safetensors(target),
                {
                    LAYER + "experts.down_projs": ("BF16", [EXPERTS, 32, ROWS], expected),
                    LAYER + "gate.bias": ("BF16", [EXPERTS], b"abcd"),
                },
            )

    def test_says_what_is_wrong(self):
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.safetensors"), Path(folder, "out.safetensors")
            write_safetensors(source, {LAYER + "down_proj_scales": ("U8", [1, 1, 1], b"a")})
            result = run("from_hf", source, target)
            self.assertEqual(result.returncode, 1)
            self.assertIn(LAYER + "down_proj_blocks", result.stderr)
            self.assertFalse(target.exists())


class LoadCheckpoint(unittest.TestCase):
    def test_reads_the_experts_of_its_rank(self):
        with tempfile.TemporaryDirectory() as folder:
            sample = [os.environ["MXFERRY"], "sample", f"{folder}/tiny", "--quiet"]
            subprocess.run(sample, check=True)
            results = [run("load_checkpoint", f"{folder}/tiny", 2, rank) for rank in (0, 1)]
            # 4 experts, hidden 64, intermediate 96.
            shape = f"{LAYER}experts.down_projs [2, 96, 64]"
            for result in results:
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertIn(f"{shape}\n", result.stdout)
            self.assertEqual(results[0].stdout, results[1].stdout)

    def test_says_what_is_wrong(self):
        result = run("load_checkpoint", "none", 2, 2)
        self.assertEqual(result.returncode, 1)
        self.assertIn("coordinate", result.stderr)


if __name__ == "__main__":
    unittest.main()
