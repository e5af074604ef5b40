"""Transformers dequantizes to the same bits, loads the result, and computes the same with it."""

import pytest
import torch
from conftest import convert, read, sample
from safetensors.torch import save_file
from transformers import AutoConfig, AutoTokenizer, GptOssForCausalLM, Mxfp4Config
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

PAIRS = [
    f"model.layers.{layer}.mlp.experts.{name}"
    for layer in range(2)
    for name in ("gate_up_proj", "down_proj")
]


@pytest.fixture
def wild(tmp_path):
    """Every code under every scale from 0 to 254, those that overflow included."""
    folder = sample(tmp_path / "wild", "--wild")
    tensors = read(folder)
    generator = torch.Generator().manual_seed(7)
    for name in PAIRS:
        scales = tensors[f"{name}_scales"]
        every = torch.arange(scales.numel()) % 255
        shuffled = every[torch.randperm(scales.numel(), generator=generator)]
        tensors[f"{name}_scales"] = shuffled.to(torch.uint8).reshape(scales.shape)
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        path.unlink()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_dequantized_bits_are_those_of_transformers(wild, tmp_path):
    source = read(wild)
    target = read(convert(wild, tmp_path / "dst", "--to", "hf", "--allow-nonfinite"))
    scales_met = set()
    for name in PAIRS:
        blocks, scales = source[f"{name}_blocks"], source[f"{name}_scales"]
        scales_met |= set(scales.flatten().tolist())
        experts, rows, groups = scales.shape
        theirs = convert_moe_packed_tensors(blocks, scales)
        assert theirs.dtype == torch.bfloat16
        assert theirs.shape == (experts, 32 * groups, rows)
        assert not theirs.isnan().any()
        assert target[name].view(torch.int16).equal(theirs.view(torch.int16)), name
    assert scales_met == set(range(255))


def load(folder, **options) -> GptOssForCausalLM:
    model, info = GptOssForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, output_loading_info=True, **options
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not info.get(kind), (kind, info[kind])
    return model.eval()


def logits(model) -> torch.Tensor:
    tokens = torch.arange(24).reshape(2, 12) * 7 % 250
    with torch.no_grad():
        return model(tokens).logits


def test_logits_are_those_of_the_packed_model(packed, dense):
    ours = load(dense)
    theirs = load(packed, quantization_config=Mxfp4Config(dequantize=True))
    expected = theirs.state_dict()
    state = ours.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert tensor.equal(expected[name]), name
    result = logits(ours)
    assert result.equal(logits(theirs))
    assert result.isfinite().all() and result.std() > 0


def test_there_and_back_by_nemo_is_the_same_model(dense, tmp_path):
    nemo = convert(dense, tmp_path / "nemo", "--to", "nemo", "--attn", "te")
    back = convert(nemo, tmp_path / "back", "--to", "hf")
    assert logits(load(back)).equal(logits(load(dense)))


def test_a_trained_model_loads_quantized(dense, tmp_path):
    """Transformers reads our blocks as the values that we say they are."""
    model = load(dense)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith(("gate_up_proj", "down_proj")):
                tensor += 0.003 * torch.randn_like(tensor)
    model.save_pretrained(tmp_path / "trained")
    options = ["--to", "hf", "--dtype", "mxfp4"]
    quantized = convert(tmp_path / "trained", tmp_path / "quantized", *options)
    theirs = load(quantized, quantization_config=Mxfp4Config(dequantize=True)).state_dict()
    ours = read(convert(quantized, tmp_path / "decoded", "--to", "hf"))
    for name in PAIRS:
        assert theirs[name].equal(ours[name]), name
        # The bound of MXFP4: half the widest step is a sixth of a block's largest weight.
        error = (ours[name].float() - model.state_dict()[name].float()).abs()
        blocks = model.state_dict()[name].float().abs().unflatten(1, (-1, 32))
        assert (error.unflatten(1, (-1, 32)) <= blocks.amax(2, keepdim=True) / 3).all()
        assert error.max() > 0


def test_there_and_back_returns_the_bytes(packed, dense, tmp_path):
    options = ["--to", "hf", "--dtype", "mxfp4", "--reference", packed]
    original, back = read(packed), read(convert(dense, tmp_path / "back", *options))
    assert original.keys() == back.keys()
    for name, tensor in original.items():
        assert tensor.equal(back[name]), name


def test_what_transformers_saves_is_read(dense, tmp_path):
    load(dense).save_pretrained(tmp_path / "saved", max_shard_size="300KB")
    nemo = read(convert(tmp_path / "saved", tmp_path / "nemo", "--to", "nemo"))
    expected = read(convert(dense, tmp_path / "expected", "--to", "nemo"))
    assert nemo.keys() == expected.keys()
    for name, tensor in nemo.items():
        assert tensor.equal(expected[name]), name


def test_config_and_tokenizer_load(packed, dense):
    config, packed_config = (AutoConfig.from_pretrained(x).to_dict() for x in (dense, packed))
    assert packed_config.pop("quantization_config")["quant_method"] == "mxfp4"
    assert config["dtype"] == "bfloat16"
    for ours in ("dtype", "_name_or_path"):
        config.pop(ours, None)
        packed_config.pop(ours, None)
    assert config == packed_config
    text = "The quick brown fox"
    tokens = AutoTokenizer.from_pretrained(packed)(text)["input_ids"]
    assert tokens and AutoTokenizer.from_pretrained(dense)(text)["input_ids"] == tokens
