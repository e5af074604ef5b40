"""The peers are the ones that the other tests here rely on: this library's constants are theirs."""

import re
from pathlib import Path

import torch
from transformers.integrations import mxfp4
from transformers.models.gpt_oss import GptOssConfig, GptOssForCausalLM

ROOT = Path(__file__).resolve().parents[2]


def test_fp4_values_are_those_of_transformers():
    header = (ROOT / "include/mxferry/mxfp4.h").read_text()
    values = re.search(r"FP4_VALUES = \{([^}]*)\}", header)[1]
    ours = [float(value.strip().rstrip("f")) for value in values.split(",")]
    assert (
        torch.tensor(ours).view(torch.int32).equal(torch.tensor(mxfp4.FP4_VALUES).view(torch.int32))
    )


def test_transformers_makes_a_gpt_oss_model():
    config = GptOssConfig(
        num_hidden_layers=1,
        num_local_experts=3,
        num_experts_per_tok=2,
        hidden_size=64,
        intermediate_size=96,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        vocab_size=128,
    )
    model = GptOssForCausalLM(config).eval()
    assert model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 128)
    experts = model.state_dict()["model.layers.0.mlp.experts.gate_up_proj"]
    assert experts.shape == (3, 64, 2 * 96)
