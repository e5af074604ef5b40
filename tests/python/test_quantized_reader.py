"""PyTorch's own reader of MXFP4 checkpoints decodes what this package decodes, bit for bit."""

import json

import mxferry
import pytest
import torch
import torch.distributed.checkpoint as dcp
from quantized_reader import Reader
from safetensors.torch import save_file

NAME = "model.layers.0.mlp.experts.gate_up_proj"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_scale_and_code(wild, dtype, tmp_path):
    blocks, scales = (torch.from_numpy(x) for x in wild)
    # In two files, as some pairs of the published checkpoints are.
    files = {"_blocks": "a.safetensors", "_scales": "b.safetensors"}
    for ending, tensor in (("_blocks", blocks), ("_scales", scales)):
        save_file({NAME + ending: tensor}, tmp_path / files[ending])
    weight_map = {NAME + ending: file for ending, file in files.items()}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))

    expected = mxferry.dequantize(blocks, scales, dtype=dtype, transpose=False)
    found = torch.zeros_like(expected)
    reader = Reader(str(tmp_path), target_dtype=dtype)
    dcp.load({NAME + "_blocks": found}, storage_reader=reader, no_dist=True)
    assert found.view(torch.uint8).equal(expected.view(torch.uint8))
