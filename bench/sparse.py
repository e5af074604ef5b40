"""gpt-oss-120b as far as planning sees it: published names, true shapes and headers, and no data.

The files are as long as their headers say, but the weights are holes that take no disk.
"""

import json
import math
import struct
from pathlib import Path

LAYERS, EXPERTS, HIDDEN, INTERMEDIATE, VOCABULARY = 36, 128, 2880, 2880, 201_088
QUERY, KEY_VALUE, HEADS = 4096, 512, 64
SHARDS = 15
SHARD_SIZE = 4_600_000_000  # bytes of data in one file, so that there are 15 as published

Tensor = tuple[str, str, list[int]]  # name, dtype, shape


def tensors() -> list[Tensor]:
    result: list[Tensor] = []

    def dense(name: str, *shape: int) -> None:
        result.append((name, "BF16", list(shape)))

    def packed(name: str, rows: int, columns: int) -> None:
        dense(f"{name}_bias", EXPERTS, rows)
        result.append((f"{name}_blocks", "U8", [EXPERTS, rows, columns // 32, 16]))
        result.append((f"{name}_scales", "U8", [EXPERTS, rows, columns // 32]))

    dense("model.embed_tokens.weight", VOCABULARY, HIDDEN)
    for number in range(LAYERS):
        layer = f"model.layers.{number}."
        dense(f"{layer}input_layernorm.weight", HIDDEN)
        packed(f"{layer}mlp.experts.down_proj", HIDDEN, INTERMEDIATE)
        packed(f"{layer}mlp.experts.gate_up_proj", 2 * INTERMEDIATE, HIDDEN)
        dense(f"{layer}mlp.router.weight", EXPERTS, HIDDEN)
        dense(f"{layer}mlp.router.bias", EXPERTS)
        dense(f"{layer}post_attention_layernorm.weight", HIDDEN)
        for name, rows in (("q", QUERY), ("k", KEY_VALUE), ("v", KEY_VALUE)):
            dense(f"{layer}self_attn.{name}_proj.weight", rows, HIDDEN)
            dense(f"{layer}self_attn.{name}_proj.bias", rows)
        dense(f"{layer}self_attn.o_proj.weight", HIDDEN, QUERY)
        dense(f"{layer}self_attn.o_proj.bias", HIDDEN)
        dense(f"{layer}self_attn.sinks", HEADS)
    dense("model.norm.weight", HIDDEN)
    dense("lm_head.weight", VOCABULARY, HIDDEN)
    return result


def byte_count(tensor: Tensor) -> int:
    _, dtype, shape = tensor
    return math.prod(shape) * (2 if dtype == "BF16" else 1)


def shards() -> list[list[Tensor]]:
    result: list[list[Tensor]] = [[]]
    for tensor in tensors():
        if sum(map(byte_count, result[-1])) + byte_count(tensor) > SHARD_SIZE:
            result.append([])
        result[-1].append(tensor)
    return result


def write_shard(path: Path, content: list[Tensor]) -> None:
    header, end = {}, 0
    for tensor in content:
        name, dtype, shape = tensor
        begin, end = end, end + byte_count(tensor)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def write_checkpoint(folder: Path) -> None:
    files = shards()
    if len(files) != SHARDS:
        raise ValueError(f"{len(files)} shards, not {SHARDS}")
    folder.mkdir()
    weight_map = {}
    for number, content in enumerate(files):
        name = f"model-{number:05d}-of-{SHARDS - 1:05d}.safetensors"
        write_shard(folder / name, content)
        weight_map |= {tensor[0]: name for tensor in content}
    total = sum(byte_count(tensor) for content in files for tensor in content)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "num_hidden_layers": LAYERS,
        "num_local_experts": EXPERTS,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE // (QUERY // HEADS),
        "head_dim": QUERY // HEADS,
        "vocab_size": VOCABULARY,
        "quantization_config": {"quant_method": "mxfp4"},
    }
    (folder / "config.json").write_text(json.dumps(config))
