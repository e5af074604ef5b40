"""The safetensors package reads what the command writes, and the other way round."""

import json
import re

import ml_dtypes
import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from conftest import convert, read, sample
from safetensors import safe_open

HIDDEN, INTERMEDIATE, EXPERTS, HEADS, KEY_HEADS, HEAD, VOCAB = 64, 96, 3, 4, 2, 16, 50


def dense_shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes that GptOssForCausalLM saves."""
    layer = {
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
        "self_attn.q_proj.weight": (HEADS * HEAD, HIDDEN),
        "self_attn.q_proj.bias": (HEADS * HEAD,),
        "self_attn.k_proj.weight": (KEY_HEADS * HEAD, HIDDEN),
        "self_attn.k_proj.bias": (KEY_HEADS * HEAD,),
        "self_attn.v_proj.weight": (KEY_HEADS * HEAD, HIDDEN),
        "self_attn.v_proj.bias": (KEY_HEADS * HEAD,),
        "self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
        "self_attn.o_proj.bias": (HIDDEN,),
        "self_attn.sinks": (HEADS,),
        "mlp.router.weight": (EXPERTS, HIDDEN),
        "mlp.router.bias": (EXPERTS,),
        "mlp.experts.gate_up_proj": (EXPERTS, HIDDEN, 2 * INTERMEDIATE),
        "mlp.experts.gate_up_proj_bias": (EXPERTS, 2 * INTERMEDIATE),
        "mlp.experts.down_proj": (EXPERTS, INTERMEDIATE, HIDDEN),
        "mlp.experts.down_proj_bias": (EXPERTS, HIDDEN),
    }
    shapes = {f"model.layers.{n}.{name}": s for n in range(layers) for name, s in layer.items()}
    shapes["model.embed_tokens.weight"] = shapes["lm_head.weight"] = (VOCAB, HIDDEN)
    shapes["model.norm.weight"] = (HIDDEN,)
    return shapes


def write_config(folder):
    config = {
        "model_type": "gpt_oss",
        "num_hidden_layers": 2,
        "num_local_experts": EXPERTS,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "head_dim": HEAD,
        "vocab_size": VOCAB,
    }
    (folder / "config.json").write_text(json.dumps(config))


def test_reads_what_the_numpy_writer_wrote(tmp_path):
    random = np.random.default_rng(7)
    written = {
        name: random.standard_normal(shape, dtype=np.float32).astype(ml_dtypes.bfloat16)
        for name, shape in dense_shapes(2).items()
    }
    (tmp_path / "src").mkdir()
    safetensors.numpy.save_file(written, tmp_path / "src/model.safetensors", {"a": "b\u00e9"})
    write_config(tmp_path / "src")
    convert(tmp_path / "src", tmp_path / "nemo", "--to", "nemo")
    convert(tmp_path / "nemo", tmp_path / "hf", "--to", "hf", "--dtype", "f32")
    converted = safetensors.numpy.load_file(tmp_path / "hf/model.safetensors")
    assert converted.keys() == written.keys()
    for name, array in written.items():
        assert np.array_equal(converted[name], array.astype(np.float32)), name
    nemo = safetensors.numpy.load_file(tmp_path / "nemo/model.safetensors")
    ours = nemo["model.layers.1.mlp.experts.gate_and_up_projs"]
    assert ours.dtype == ml_dtypes.bfloat16
    name = "model.layers.1.mlp.experts.gate_up_proj"
    assert np.array_equal(ours.view(np.uint16), written[name].view(np.uint16))


def test_rounds_as_torch_does(tmp_path):
    generator = torch.Generator().manual_seed(7)
    written = {
        # Exponents from far below to within the range of every target.
        name: torch.randn(shape, generator=generator)
        * torch.exp2(torch.randint(-30, 10, shape, generator=generator).float())
        for name, shape in dense_shapes(2).items()
    }
    (tmp_path / "src").mkdir()
    safetensors.torch.save_file(written, tmp_path / "src/model.safetensors")
    write_config(tmp_path / "src")
    for option, dtype in [("bf16", torch.bfloat16), ("f16", torch.float16)]:
        folder = convert(tmp_path / "src", tmp_path / option, "--to", "hf", "--dtype", option)
        for name, tensor in read(folder).items():
            expected = written[name].to(dtype)
            assert tensor.view(torch.int16).equal(expected.view(torch.int16)), (option, name)


def test_torch_reads_samples_of_every_layout(tmp_path):
    for layout, dtype in [("hf", "mxfp4"), ("hf", "bf16"), ("nemo", "bf16"), ("original", "mxfp4")]:
        folder = sample(tmp_path / f"{layout}-{dtype}", "--to", layout, "--dtype", dtype)
        tensors = read(folder)
        assert tensors
        for name, tensor in tensors.items():
            packed = name.endswith(("blocks", "scales"))
            assert tensor.dtype == (torch.uint8 if packed else torch.bfloat16), name
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                assert file.metadata() == {"format": "pt"}


def test_the_original_layout_fuses_query_key_value(packed, tmp_path):
    source = read(packed)
    target = read(convert(packed, tmp_path / "dst", "--to", "original", "--dtype", "mxfp4"))
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        for kind in ("weight", "bias"):
            fused = torch.cat([source[f"{prefix}self_attn.{x}_proj.{kind}"] for x in "qkv"])
            assert target[f"block.{layer}.attn.qkv.{kind}"].equal(fused)
        for theirs, ours in [("gate_up_proj", "mlp1_weight"), ("down_proj", "mlp2_weight")]:
            for part in ("blocks", "scales"):
                moved = target[f"block.{layer}.mlp.{ours}.{part}"]
                assert moved.equal(source[f"{prefix}mlp.experts.{theirs}_{part}"])


def test_exclude_is_re_match(packed, tmp_path):
    names = set(read(convert(packed, tmp_path / "all", "--to", "nemo")))
    for number, regex in enumerate(
        [
            r".*_extra_state.*",
            r"model\.layers\.[0]\.",
            r"(?:lm_head|model\.(?!layers))",
            r"MODEL",
            r"(?i)MODEL\.norm",
            r".*(?<=self_attn\.)[kq]_proj\.(weight|bias)$",
        ]
    ):
        folder = convert(packed, tmp_path / str(number), "--to", "nemo", "--exclude", regex)
        assert set(read(folder)) == {name for name in names if not re.match(regex, name)}, regex
