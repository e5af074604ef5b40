"""mlx-lm and compressed-tensors load what is written in their layouts, and it is the same model.

MLX names the Python of an environment with mlx-lm (tests/requirements-mlx.txt).
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from conftest import convert, read
from safetensors.torch import save_file
from transformers import GptOssForCausalLM

TOKENS = [[index * 7 % 250 for index in range(12)], [index * 5 % 250 for index in range(12)]]


def edit_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def truncate_yarn(folder: Path) -> None:
    """mlx-lm 0.32 computes YaRN as with `truncate`, whatever the config says."""
    rope = json.loads((folder / "config.json").read_text())["rope_scaling"]
    edit_config(folder, rope_scaling=rope | {"truncate": True})


def transformers_logits(folder: Path) -> torch.Tensor:
    truncate_yarn(folder)
    model = GptOssForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits


def mlx_logits(folder: Path) -> torch.Tensor:
    truncate_yarn(folder)
    script = Path(__file__).with_name("mlx_logits.py")
    command = [os.environ["MLX"], script, folder, json.dumps(TOKENS)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return torch.tensor(json.loads(ended.stdout))


@pytest.mark.parametrize("dtype", ["mxfp4", "f32"])
def test_mlx_lm_computes_what_transformers_computes(packed, tmp_path, dtype):
    exact = convert(packed, tmp_path / "hf", "--to", "hf", "--dtype", "f32")
    expected = transformers_logits(exact)
    result = mlx_logits(convert(packed, tmp_path / "mlx", "--to", "mlx", "--dtype", dtype))
    assert expected.std() > 0.1
    assert (result - expected).abs().max() < 1e-3 * expected.std()


def test_mlx_has_the_config_that_mlx_lm_writes(packed, dense, tmp_path):
    declared = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
    mlx = convert(packed, tmp_path / "mlx", "--to", "mlx", "--dtype", "mxfp4")
    config = json.loads((mlx / "config.json").read_text())
    assert config["quantization"] == config["quantization_config"] == declared
    back = convert(mlx, tmp_path / "back", "--to", "hf", "--dtype", "mxfp4")
    config = json.loads((back / "config.json").read_text())
    assert "quantization" not in config
    assert config == json.loads((packed / "config.json").read_text())
    for folder in (convert(mlx, tmp_path / "dense", "--to", "mlx", "--dtype", "bf16"), dense):
        assert not json.loads((folder / "config.json").read_text()).keys() & {
            "quantization",
            "quantization_config",
        }


def test_compressed_tensors_decodes_the_same_bits(packed, dense, tmp_path):
    folder = convert(packed, tmp_path / "ct", "--to", "compressed-tensors", "--dtype", "mxfp4")
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    scheme = QuantizationConfig.model_validate(config).config_groups["group_0"]
    compressor = BaseCompressor.get_value_from_registry(config["format"])
    tensors = read(folder)
    experts = [name for name in tensors if name.endswith(".weight_packed")]
    assert len(experts) == 2 * 5 * 3
    decoded = read(convert(dense, tmp_path / "dense", "--to", "compressed-tensors"))
    for name in experts:
        module = name.removesuffix(".weight_packed")
        state = {piece: tensors[f"{module}.{piece}"] for piece in ("weight_packed", "weight_scale")}
        theirs = compressor.decompress(state, scheme)["weight"]
        assert theirs.to(torch.bfloat16).equal(decoded[f"{module}.weight"]), name


def test_the_names_of_quark_are_read(packed, tmp_path):
    """As AMD Quark spells them: `.weight` in U8."""
    written = convert(packed, tmp_path / "ct", "--to", "compressed-tensors", "--dtype", "mxfp4")
    renamed = {name.replace("weight_packed", "weight"): t for name, t in read(written).items()}
    for path in [*written.glob("*.safetensors"), *written.glob("*.index.json")]:
        path.unlink()
    save_file(renamed, written / "model.safetensors")
    edit_config(written, quantization_config={"quant_method": "quark"})
    back = convert(written, tmp_path / "back", "--to", "hf", "--dtype", "mxfp4")
    original, result = read(packed), read(back)
    assert original.keys() == result.keys()
    for name, tensor in original.items():
        assert tensor.equal(result[name]), name
