"""load_into on one process: what is filled, what is refused, what is left alone."""

import json

import mxferry
import pytest
import torch
from folders import read
from mxferry.staged_fill import fill_staged
from safetensors.torch import save_file

GATE_UP = "model.layers.1.mlp.experts.gate_and_up_projs"
DOWN = "model.layers.0.mlp.experts.down_projs"


def empty_state_dict(path, dtype=torch.bfloat16, **options):
    checkpoint = mxferry.open_checkpoint(path, **options)
    return {
        name: torch.full(checkpoint.get_slice(name).get_shape(), 7, dtype=dtype)
        for name in checkpoint
    }


def test_fills_everything(model):
    state_dict = empty_state_dict(model)
    memory = {name: tensor.data_ptr() for name, tensor in state_dict.items()}
    keys = mxferry.load_into(state_dict, model)
    assert keys == ([], []) and keys.missing_keys == []
    for name, tensor in mxferry.open_checkpoint(model).items():
        assert state_dict[name].equal(tensor), name
        assert state_dict[name].data_ptr() == memory[name]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_casts_where_the_parameter_has_another_dtype(model, dtype):
    state_dict = empty_state_dict(model, dtype)
    mxferry.load_into(state_dict, model)
    for name, tensor in mxferry.open_checkpoint(model).items():
        assert state_dict[name].equal(tensor.to(dtype)), name


def test_reads_from_every_layout(model, tmp_path):
    expected = empty_state_dict(model)
    mxferry.load_into(expected, model)
    for to, dtype in (
        ("original", "mxfp4"),
        ("original", "bf16"),
        ("hf", "bf16"),
        ("nemo", None),
        ("torchtitan", None),
    ):
        path = tmp_path / f"{to}-{dtype}"
        mxferry.convert(model, path, to=to, dtype=dtype, sync=False)
        state_dict = empty_state_dict(model)
        mxferry.load_into(state_dict, path)
        assert all(state_dict[name].equal(expected[name]) for name in expected)


def test_names_of_hugging_face_and_te(model, tmp_path):
    state_dict = empty_state_dict(model, layout="hf")
    mxferry.load_into(state_dict, model, layout="hf")
    expected = mxferry.open_checkpoint(model, layout="hf", dtype="bf16")
    assert all(state_dict[name].equal(expected[name]) for name in expected)
    te = empty_state_dict(model, attn="te")
    assert "model.layers.0.self_attn.attn_module.softmax_offset" in te
    assert mxferry.load_into(te, model) == ([], [])


def test_wrappers_and_adapters_in_names(model):
    expected = empty_state_dict(model)
    mxferry.load_into(expected, model)
    made = empty_state_dict(model)
    named = {}
    for name, tensor in made.items():
        new = name.replace("self_attn.q_proj.", "self_attn.q_proj.base_layer.")
        new = new.replace("layers.1.", "layers.1._checkpoint_wrapped_module.")
        named["base_model.model._orig_mod." + new] = tensor
    assert len(named) == len(made)
    lora = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
    named[lora] = torch.full((2, 96), 7.0)
    named["model.layers.0.self_attn.attn_module._extra_state"] = object()
    assert mxferry.load_into(named, model) == ([], [])
    assert all(made[name].equal(expected[name]) for name in expected)
    assert named[lora].eq(7).all()


def test_a_tied_head_is_filled_from_the_embedding(model):
    config = json.loads((model / "config.json").read_text()) | {"tie_word_embeddings": True}
    (model / "config.json").write_text(json.dumps(config))
    tensors = read(model)
    del tensors["lm_head.weight"]
    for file in [*model.glob("*.safetensors"), *model.glob("*.index.json")]:
        file.unlink()
    save_file({f"module.{name}": t for name, t in tensors.items()}, model / "model.safetensors")
    for layout in ("hf", "nemo"):
        made = empty_state_dict(model, layout=layout)
        assert mxferry.load_into(made, model, layout=layout) == ([], [])
        assert made["lm_head.weight"].equal(tensors["model.embed_tokens.weight"])


def test_names_that_differ(model):
    state_dict = empty_state_dict(model)
    untouched = state_dict["model.norm.weight"].clone()
    head = state_dict.pop("lm_head.weight")
    state_dict["model.extra.weight"] = head
    with pytest.raises(mxferry.Error, match="model.extra.weight.*lm_head.weight") as error:
        mxferry.load_into(state_dict, model)
    assert error.value.code == "missing_tensor"
    assert state_dict["model.norm.weight"].equal(untouched)
    keys = mxferry.load_into(state_dict, model, strict=False)
    assert keys == (["model.extra.weight"], ["lm_head.weight"])
    assert head.eq(7).all() and not state_dict["model.norm.weight"].equal(untouched)


def test_a_plain_tensor_is_the_full_one(model):
    state_dict = empty_state_dict(model)
    state_dict[GATE_UP] = state_dict[GATE_UP][:1]
    with pytest.raises(mxferry.Error) as error:
        mxferry.load_into(state_dict, model)
    assert error.value.code == "wrong_shape" and error.value.tensor == GATE_UP
    assert error.value.expected == "[3, 96, 320]" and error.value.found == "[1, 96, 320]"


def test_tensors_that_cannot_be_filled(model):
    for tensor, code in (
        (torch.zeros(96, dtype=torch.int64), "wrong_dtype"),
        (torch.zeros(96, device="meta"), "invalid_argument"),
    ):
        state_dict = empty_state_dict(model)
        state_dict["model.norm.weight"] = tensor
        with pytest.raises(mxferry.Error) as error:
            mxferry.load_into(state_dict, model)
        assert error.value.code == code


def test_strided_memory(model):
    expected = empty_state_dict(model)
    mxferry.load_into(expected, model)
    state_dict = empty_state_dict(model)
    # Rows of a larger tensor, and a transposed one, which has gaps between all its elements.
    rows = torch.full((3, 96, 500), 7, dtype=torch.bfloat16)
    transposed = torch.full((3, 96, 160), 7, dtype=torch.bfloat16)
    state_dict[GATE_UP] = rows[..., 100:420]
    state_dict[DOWN] = transposed.transpose(1, 2)
    mxferry.load_into(state_dict, model)
    assert all(state_dict[name].equal(expected[name]) for name in expected)
    assert rows[..., :100].eq(7).all() and rows[..., 420:].eq(7).all()


@pytest.mark.parametrize("begin, extent", [([0, 0, 0], [3, 160, 96]), ([1, 37, 5], [2, 70, 9])])
def test_packed_weights_are_staged_packed(model, begin, extent):
    checkpoint = mxferry.open_checkpoint(model)
    memory = torch.zeros(extent, dtype=torch.float32)
    fill_staged(checkpoint, DOWN, begin, memory)
    box = tuple(slice(b, b + e) for b, e in zip(begin, extent, strict=True))
    assert memory.equal(checkpoint[DOWN][box].float())
    assert checkpoint.packed_parts(DOWN) is not None


def test_dense_weights_are_staged_too(model, tmp_path):
    mxferry.convert(model, tmp_path / "dense", dtype="bf16", sync=False)
    checkpoint = mxferry.open_checkpoint(tmp_path / "dense")
    assert checkpoint.packed_parts(DOWN) is None
    memory = torch.zeros((3, 160, 96), dtype=torch.bfloat16)
    fill_staged(checkpoint, DOWN, [0, 0, 0], memory)
    assert memory.equal(checkpoint[DOWN])


class Model(torch.nn.Module):
    """Native names of one kind, with or without a hook that gives copies, as TE experts do."""

    def __init__(self, copies):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((96,), 7.0))
        if copies:
            self.register_state_dict_post_hook(
                lambda module, state_dict, prefix, metadata: state_dict.update(
                    {prefix + "weight": state_dict[prefix + "weight"].clone()}
                )
            )


def test_modules_are_filled_in_place(model):
    root = torch.nn.Module()
    root.model = torch.nn.Module()
    root.model.norm = Model(copies=False)
    keys = mxferry.load_into(root, model, strict=False)
    assert "lm_head.weight" in keys.unexpected_keys and keys.missing_keys == []
    expected = mxferry.open_checkpoint(model)["model.norm.weight"]
    assert root.model.norm.weight.equal(expected.float())


def test_copies_of_a_modules_weights_are_refused(model):
    root = torch.nn.Module()
    root.model = torch.nn.Module()
    root.model.norm = Model(copies=True)
    with pytest.raises(mxferry.Error, match="load_state_dict") as error:
        mxferry.load_into(root, model, strict=False)
    assert error.value.code == "unsupported" and error.value.tensor == "model.norm.weight"


def test_progress_ends_with_everything(model):
    calls = []
    state_dict = empty_state_dict(model)
    mxferry.load_into(state_dict, model, progress=lambda done, total: calls.append((done, total)))
    total = sum(t.numel() * t.element_size() for t in state_dict.values())
    assert calls[-1] == (total, total)
