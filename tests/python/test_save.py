"""save_checkpoint on one process: what is written, what is refused, what is left alone."""

import json
import subprocess
import sys

import mxferry
import pytest
import torch
from folders import contents, read
from mxferry.ownership import Column, Held, Strip, columns_of, deal, share
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, GptOssConfig, Mxfp4Config

PACKED = "model.layers.1.mlp.experts.down_proj_blocks"
DOWN = "model.layers.1.mlp.experts.down_projs"
SMALL = {"max_shard_size": 100_000, "sync": False}


def in_memory(path, dtype=None, **options):
    checkpoint = mxferry.open_checkpoint(path, **options)
    tensors = {name: checkpoint[name] for name in checkpoint}
    return {k: v if dtype is None else v.to(dtype) for k, v in tensors.items()}


@pytest.fixture
def dense(model, tmp_path):
    """The checkpoint `model` for NeMo AutoModel."""
    mxferry.convert(model, tmp_path / "dense", to="nemo", sync=False)
    return tmp_path / "dense"


def same(a, b):
    return a.keys() == b.keys() and all(x.equal(b[name]) for name, x in a.items())


def same_as_convert(saved, source, **options):
    expected = saved.with_name("expected")
    mxferry.convert(source, expected, to="hf", force=True, **(SMALL | options))
    assert contents(saved) == contents(expected)


@pytest.mark.parametrize("layout", ["nemo", "hf"])
@pytest.mark.parametrize("dtype", ["mxfp4", "bf16", "f16", "f32", None])
def test_the_files_are_those_of_convert(dense, tmp_path, layout, dtype):
    state_dict = in_memory(dense, layout=layout)
    mxferry.save_checkpoint(state_dict, tmp_path / "saved", dtype=dtype, side_files=dense, **SMALL)
    same_as_convert(tmp_path / "saved", dense, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_whatever_dtype_memory_has(dense, tmp_path, dtype):
    name = {torch.float32: "f32", torch.float16: "f16"}[dtype]
    mxferry.convert(dense, tmp_path / "source", dtype=name, sync=False)
    mxferry.save_checkpoint(
        in_memory(dense, dtype),
        tmp_path / "saved",
        dense_dtype="bf16",
        side_files=tmp_path / "source",
        **SMALL,
    )
    same_as_convert(tmp_path / "saved", tmp_path / "source", dtype="mxfp4", dense_dtype="bf16")


@pytest.mark.parametrize("mode", ["ocp", "even", "best"])
def test_modes_of_quantizing(dense, tmp_path, mode):
    state_dict = in_memory(dense, torch.float32)
    for name in state_dict:
        if name.endswith("_projs"):
            state_dict[name] *= 1.1
    mxferry.save_checkpoint(
        state_dict, tmp_path / "saved", quant_mode=mode, side_files=dense, **SMALL
    )
    name = "model.layers.1.mlp.experts.down_proj"
    saved = read(tmp_path / "saved")
    blocks, scales = mxferry.quantize(state_dict[DOWN], mode)
    assert saved[name + "_blocks"].equal(blocks) and saved[name + "_scales"].equal(scales)


def test_a_reference_gives_unchanged_weights_their_bytes_back(model, tmp_path):
    """Without one a block of small codes gets another scale, and the same values."""
    file = next(f for f in sorted(model.glob("*.safetensors")) if PACKED in load_file(f))
    tensors = load_file(file)
    tensors[PACKED][2, 7, 1] = 0x22  # 1.0 everywhere
    save_file(tensors, file, metadata={"format": "pt"})
    source = read(model)
    state_dict = in_memory(model, dtype=torch.float32)
    options = {"side_files": model, "dense_dtype": "bf16", "sync": False}
    for reference in (model, None):
        path = tmp_path / ("with" if reference else "without")
        mxferry.save_checkpoint(state_dict, path, reference=reference, **options)
        assert mxferry.verify(model, path).identical
    assert same(read(tmp_path / "with"), source)
    assert not same(read(tmp_path / "without"), source)


def test_packed_tensors_stay_as_they_are(model, tmp_path):
    state_dict = read(model)
    mxferry.save_checkpoint(state_dict, tmp_path / "saved", side_files=model, **SMALL)
    same_as_convert(tmp_path / "saved", model, dtype="mxfp4")
    refused(state_dict, tmp_path / "dense", "unsupported", dtype="bf16", side_files=model)


def test_transformers_loads_what_its_model_was_saved_as(dense, model, tmp_path):
    mxferry.convert(model, tmp_path / "hf", dtype="bf16", sync=False)
    live = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.bfloat16)
    mxferry.save_checkpoint(
        live, tmp_path / "saved", config=live.config, side_files=model, sync=False
    )
    assert mxferry.verify(model, tmp_path / "saved").identical
    config = AutoConfig.from_pretrained(tmp_path / "saved")
    assert config.quantization_config["quant_method"] == "mxfp4"
    again = AutoModelForCausalLM.from_pretrained(
        tmp_path / "saved", dtype=torch.bfloat16, quantization_config=Mxfp4Config(dequantize=True)
    )
    assert same(again.state_dict(), live.state_dict())
    dense_path = tmp_path / "saved-dense"
    mxferry.save_checkpoint(live, dense_path, dtype="f32", config=live.config, sync=False)
    config = json.loads((dense_path / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "float32"


def test_forms_of_the_config(dense, tmp_path):
    file = dense / "config.json"
    state_dict = in_memory(dense)
    saved = []
    for number, config in enumerate(
        (file, str(file), json.loads(file.read_text()), GptOssConfig.from_pretrained(dense))
    ):
        path = tmp_path / f"saved-{number}"
        mxferry.save_checkpoint(state_dict, path, config=config, sync=False)
        assert sorted(p.name for p in path.iterdir()) == ["config.json", "model.safetensors"]
        saved.append(json.loads((path / "config.json").read_text()))
    assert saved[0] == saved[1] == saved[2]
    assert all(s["quantization_config"]["quant_method"] == "mxfp4" for s in saved)
    assert all(s["num_local_experts"] == 3 and s["model_type"] == "gpt_oss" for s in saved)


def test_names_that_wrappers_add(dense, tmp_path):
    state_dict = {"base_model.model._orig_mod." + k: v for k, v in in_memory(dense).items()}
    state_dict["model.layers.0.self_attn.attn_module._extra_state"] = object()
    mxferry.save_checkpoint(state_dict, tmp_path / "saved", side_files=dense, **SMALL)
    same_as_convert(tmp_path / "saved", dense, dtype="mxfp4")


def test_the_sinks_of_transformer_engine(model, tmp_path):
    mxferry.convert(model, tmp_path / "te", to="nemo", attn="te", sync=False)
    state_dict = in_memory(tmp_path / "te", attn="te")
    assert any(name.endswith("softmax_offset") for name in state_dict)
    mxferry.save_checkpoint(state_dict, tmp_path / "saved", side_files=model, sync=False)
    assert mxferry.verify(model, tmp_path / "saved").identical


def test_memory_that_is_not_in_rows(dense, tmp_path):
    """Transposed weights, which files cannot be written from, and rows of something larger."""
    state_dict = in_memory(dense)
    state_dict[DOWN] = state_dict[DOWN].transpose(0, 2).contiguous().transpose(0, 2)
    head = state_dict["lm_head.weight"]
    wide = torch.zeros((head.shape[0], head.shape[1] + 5), dtype=head.dtype)
    state_dict["lm_head.weight"] = wide[:, 2 : 2 + head.shape[1]].copy_(head)
    assert not state_dict[DOWN].is_contiguous() and not state_dict["lm_head.weight"].is_contiguous()
    mxferry.save_checkpoint(state_dict, tmp_path / "saved", side_files=dense, **SMALL)
    same_as_convert(tmp_path / "saved", dense, dtype="mxfp4")


def refused(state_dict, path, code, **options):
    with pytest.raises(mxferry.Error) as error:
        mxferry.save_checkpoint(state_dict, path, **options)
    assert error.value.code == code, error.value
    return error.value


def test_a_weight_that_mxfp4_cannot_hold_is_named(dense, tmp_path):
    state_dict = in_memory(dense)
    for value in (torch.nan, torch.inf):
        state_dict[DOWN][2, 5, 7] = value
        error = refused(state_dict, tmp_path / "saved", "nonfinite_weight", side_files=dense)
        assert error.tensor == DOWN and "expert 2, row 7, column 5" in str(error)
        assert not (tmp_path / "saved").exists()
    mxferry.save_checkpoint(state_dict, tmp_path / "saved", side_files=dense, allow_nonfinite=True)


def test_what_is_no_whole_model(dense, tmp_path):
    whole, path = in_memory(dense), tmp_path / "saved"

    def without(part):
        return {k: v for k, v in whole.items() if part not in k}

    for part, code in (
        ("layers.1.mlp.experts.down_projs", "missing_tensor"),
        ("sinks", "missing_tensor"),
        ("lm_head", "missing_tensor"),
        ("layers.1.", "missing_layer"),
    ):
        refused(without(part), path, code, side_files=dense)
    other = whole | {"model.norm.weight": torch.ones(97)}
    refused(other, path, "wrong_shape", side_files=dense)
    refused(whole | {"lm_head.weight": "text"}, path, "unsupported", side_files=dense)
    lora = whole | {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 96)}
    refused(lora, path, "lora_adapter", side_files=dense)
    twice = whole | {"_orig_mod.model.norm.weight": torch.ones(96)}
    refused(twice, path, "name_collision", side_files=dense)
    refused(whole, path, "invalid_config")
    refused(whole, path, "io_error", config=path / "config.json")
    refused(whole, path, "unsupported", layout="original", side_files=dense)
    refused(whole, path, "invalid_argument", dtype="bf16", quant_mode="best", side_files=dense)
    refused(whole, path, "invalid_argument", max_shard_size=0, side_files=dense)
    refused(whole, path, "missing_tensor", reference=dense)
    assert not path.exists()


def test_destinations(dense, model, tmp_path):
    state_dict, path = in_memory(dense), tmp_path / "saved"
    mxferry.save_checkpoint(state_dict, path, side_files=dense, max_shard_size=40_000)
    refused(state_dict, path, "destination_exists", side_files=dense)
    refused(state_dict, model, "invalid_argument", reference=model, force=True)
    mxferry.save_checkpoint(state_dict, path, side_files=dense, force=True, **SMALL)
    same_as_convert(path, dense, dtype="mxfp4")
    # The folder that the other files lie in already.
    mxferry.save_checkpoint(
        state_dict, path, config=dense / "config.json", side_files=path, force=True, **SMALL
    )
    same_as_convert(path, dense, dtype="mxfp4")


FULL = """
import resource, signal, sys, mxferry
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoint = mxferry.open_checkpoint(sys.argv[1])
tensors = {name: checkpoint[name] for name in checkpoint}
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    mxferry.save_checkpoint(tensors, sys.argv[2], side_files=sys.argv[1])
except mxferry.Error as error:
    print(error.code)
"""


def test_a_disk_that_takes_no_more(dense, tmp_path):
    command = [sys.executable, "-c", FULL, dense, tmp_path / "saved"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "io_error" and not (tmp_path / "saved").exists()


def test_a_folder_that_cannot_be_made(dense):
    state_dict = in_memory(dense)
    refused(state_dict, dense / "config.json" / "saved", "io_error", side_files=dense)
    # A file system without a free byte.
    refused(state_dict, "/proc/mxferry", "not_enough_disk", side_files=dense)


def held(*boxes, shape=(4, 6)):
    return {"x": Held("F32", shape, list(boxes))}


def test_parts_of_several_ranks():
    left, right = ((0, 4), (0, 3)), ((0, 4), (3, 6))
    (shared,) = share([held(left), held(right), held(left), {}])
    assert shared.holders == {left: [0, 2], right: [1]}
    assert deal([shared], 4) == [{left: 0, right: 1}]
    for others, code in (
        (held(right, shape=(4, 7)), "wrong_shape"),
        ({"x": Held("F16", (4, 6), [right])}, "wrong_dtype"),
        (held(((0, 4), (2, 6))), "unsupported"),
        (held(((0, 2), (3, 6))), "missing_tensor"),
        (held(), "missing_tensor"),
    ):
        with pytest.raises(mxferry.Error) as error:
            share([held(left), others])
        assert error.value.code == code and error.value.tensor == "x"


def test_what_all_have_is_spread_by_bytes():
    sizes = [90, 10, 30, 30, 30, 50, 20, 40]
    model = {str(i): Held("F32", (size,), [((0, size),)]) for i, size in enumerate(sizes)}
    own = {"own": Held("F32", (60,), [((0, 60),)])}
    tensors = share([model | own, model, model])
    bytes_of = [0, 0, 0]
    for owners in deal(tensors, 3):
        for ((begin, end),), owner in owners.items():
            bytes_of[owner] += end - begin
    assert sum(bytes_of) == 360 and max(bytes_of) - min(bytes_of) <= 10, bytes_of


def test_columns_of_weights_that_are_cut_along_their_inputs():
    shape = (2, 64, 10)
    owners = {
        ((0, 2), (40, 64), (0, 10)): 3,
        ((0, 2), (0, 40), (0, 10)): 1,
    }
    (column,) = columns_of(5, shape, owners)
    assert column == Column(5, (0, 2), (0, 10), [Strip(0, 40, 1), Strip(40, 64, 3)])
    assert column.shares() == {1: range(0, 5), 3: range(5, 10)}
    assert columns_of(5, shape, {((0, 2), (0, 64), (0, 10)): 0}) == []
