"""GPTOSSStateDictAdapter as NeMo AutoModel calls it, on plain tensors."""

import weakref
from types import SimpleNamespace
from unittest.mock import patch

import mxferry
import pytest
import torch
from folders import read
from transformers.integrations import mxfp4

LAYER = "model.layers.0."
EXPERTS = LAYER + "mlp.experts."
PAIRS = [EXPERTS + "gate_up_proj", EXPERTS + "down_proj"]


def make_adapter(attn="flex", **options):
    # The constructor reads backend.attn and nothing else.
    return mxferry.GPTOSSStateDictAdapter(
        config=object(), moe_config=object(), backend=SimpleNamespace(attn=attn), **options
    )


def packed(seed=0, experts=2, rows=6, groups=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (experts, rows, groups)
    blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, generator=generator)
    return blocks, torch.randint(100, 140, shape, dtype=torch.uint8, generator=generator)


def hf_state_dict():
    state = {LAYER + "mlp.router.weight": torch.randn(2, 3)}
    for seed, name in enumerate(PAIRS):
        state[name + "_blocks"], state[name + "_scales"] = packed(seed, rows=6 + seed)
    state[EXPERTS + "down_proj_bias"] = torch.randn(2, 3)
    state["lm_head.weight"] = torch.randn(3, 3)
    return state


def test_attributes():
    config, moe_config, backend = object(), object(), SimpleNamespace(attn="flex")
    adapter = mxferry.GPTOSSStateDictAdapter(config, moe_config, backend, torch.float16)
    assert (adapter.config, adapter.moe_config, adapter.backend) == (config, moe_config, backend)
    assert adapter.dtype == torch.float16 and adapter._uses_model_prefix is True
    assert make_adapter().dtype == torch.bfloat16
    assert adapter.hf_to_internal_map == {
        "mlp.router.weight": "mlp.gate.weight",
        "mlp.router.bias": "mlp.gate.bias",
        "mlp.experts.gate_up_proj": "mlp.experts.gate_and_up_projs",
        "mlp.experts.down_proj": "mlp.experts.down_projs",
    }
    with_te = make_adapter("te")
    sinks = with_te.hf_to_internal_map["self_attn.sinks"]
    assert sinks == "self_attn.attn_module.softmax_offset"
    for made in (adapter, with_te):
        assert made.internal_to_hf_map == {v: k for k, v in made.hf_to_internal_map.items()}
    assert not adapter.supports_write_through_checkpoint_load
    assert isinstance(adapter, mxferry.StateDictAdapter)


def test_fp4_values_are_those_of_transformers():
    assert [str(value) for value in mxferry.FP4_VALUES] == [str(v) for v in mxfp4.FP4_VALUES]


def test_from_hf_works_in_place_and_in_nemos_order():
    state = hf_state_dict()
    expected = {
        name: mxfp4.convert_moe_packed_tensors(*packed(i, rows=6 + i))
        for i, name in enumerate(PAIRS)
    }
    kept = {name: state[name] for name in ("lm_head.weight", EXPERTS + "down_proj_bias")}
    result = make_adapter().from_hf(state, device_mesh=None, unknown=1)
    assert result is state
    assert list(state) == [
        EXPERTS + "down_proj_bias",
        "lm_head.weight",
        LAYER + "mlp.gate.weight",
        EXPERTS + "gate_and_up_projs",
        EXPERTS + "down_projs",
    ]
    assert all(state[name] is tensor for name, tensor in kept.items())
    assert state[EXPERTS + "gate_and_up_projs"].equal(expected[PAIRS[0]])
    assert state[EXPERTS + "down_projs"].equal(expected[PAIRS[1]])


def test_names_are_suffixes_and_the_first_that_fits_counts():
    names = {
        "Xmlp.router.weight": "Xmlp.gate.weight",
        "mlp.router.weights": "mlp.router.weights",
        LAYER + "mlp.experts.gate_up_proj.weight": LAYER + "mlp.experts.gate_up_proj.weight",
        LAYER + "mlp.experts.gate_up_proj_bias": LAYER + "mlp.experts.gate_up_proj_bias",
        LAYER + "mlp.experts.gate_up_proj": LAYER + "mlp.experts.gate_and_up_projs",
        LAYER + "self_attn.sinks": LAYER + "self_attn.attn_module.softmax_offset",
    }
    adapter = make_adapter("te")
    state = {name: number for number, name in enumerate(names)}
    assert adapter._apply_key_mapping(state, adapter.hf_to_internal_map) is state
    assert state == {new: number for number, new in enumerate(names.values())}
    back = adapter.to_hf(state)
    assert back == {old: number for number, old in enumerate(names)}
    assert adapter._apply_key_mapping({"a.b": 1}, {".b": None}) == {"a.b": 1}
    with pytest.raises(mxferry.Error) as raised:
        adapter.from_hf({"mlp.router.bias": 1, "mlp.gate.bias": 2})
    assert raised.value.code == "name_collision" and raised.value.tensor == "mlp.router.bias"


def test_to_hf_aliases_and_excludes():
    state = make_adapter().from_hf(hf_state_dict())
    state["model.layers.0.self_attn._extra_state"] = object()
    adapter = make_adapter()
    result = adapter.to_hf(state, exclude_key_regex=r".*_extra_state.*", unknown=1)
    assert result[PAIRS[0]] is state[EXPERTS + "gate_and_up_projs"]
    assert adapter.get_hf_state_dict_keys(state) == list(result)
    # re.match of the new name: anchored at its start alone.
    assert len(adapter.to_hf(state, exclude_key_regex=r"model\.layers\.0\.mlp\.router")) == 5
    assert len(adapter.to_hf(state, exclude_key_regex="router")) == 6


def test_to_hf_gives_storage_with_the_true_group_count():
    adapter = make_adapter()
    name = EXPERTS + "gate_and_up_projs"
    weight = torch.randn(2, 64, 128)
    pairs = adapter.convert_single_tensor_to_hf(name, weight, quantization=True)
    assert [n for n, _ in pairs] == [PAIRS[0] + "_blocks", PAIRS[0] + "_scales"]
    assert [tuple(t.shape) for _, t in pairs] == [(2, 128, 2, 16), (2, 128, 2)]
    assert all(t.dtype == torch.uint8 and (t == 1).all() for _, t in pairs)
    adapter.legacy_group_count = 90
    pairs = adapter.convert_single_tensor_to_hf(name, weight, quantization=True)
    assert [tuple(t.shape) for _, t in pairs] == [(2, 128, 90, 16), (2, 128, 90)]
    router = adapter.convert_single_tensor_to_hf("mlp.gate.weight", weight, quantization=True)
    assert router == [("mlp.router.weight", weight)]
    assert adapter.convert_single_tensor_to_hf(name, weight, exclude_key_regex=".*experts") == []
    adapter.legacy_group_count = None
    with pytest.raises(mxferry.Error, match=name) as raised:
        adapter.convert_single_tensor_to_hf(name, torch.randn(2, 65, 128), quantization=True)
    assert raised.value.code == "wrong_shape"


def test_to_hf_quantizes_values():
    adapter = make_adapter(dtype=torch.float32)
    source = hf_state_dict()
    native = adapter.from_hf(dict(source))
    exact = adapter.to_hf(native, quantization="values", reference=source)
    assert exact.keys() == source.keys()
    for name in PAIRS:
        assert exact[name + "_scales"].equal(source[name + "_scales"])
    plain = adapter.to_hf(native, quantization="values", mode="best")
    again = adapter.from_hf(plain)
    assert all(again[name].equal(native[name]) for name in native)


def test_the_dtype_is_honoured():
    for dtype in (torch.float32, torch.float16):
        state = make_adapter(dtype=dtype).from_hf(hf_state_dict())
        assert state[EXPERTS + "down_projs"].dtype == dtype
    adapter = make_adapter(dtype=torch.float32)
    assert adapter._convert_moe_packed_tensors(*packed(), torch.bfloat16).dtype == torch.bfloat16


def test_helpers_can_be_replaced():
    adapter = make_adapter()
    calls = []

    def stand_in(blocks, scales):
        calls.append((blocks, scales))
        return blocks

    state = {n + e: torch.ones(1) for n in PAIRS for e in ("_blocks", "_scales")}
    with patch.object(adapter, "_convert_moe_packed_tensors", stand_in):
        adapter.from_hf(state)
    assert len(calls) == 2 and set(state) == {EXPERTS + "gate_and_up_projs", EXPERTS + "down_projs"}
    with patch.object(adapter, "convert_single_tensor_to_hf", return_value=[("x", 1)]) as convert:
        assert adapter.to_hf({"y": 2}, quantization=True) == {"x": 1}
    convert.assert_called_once_with("y", 2, exclude_key_regex=None, quantization=True)


def test_a_pair_is_gone_before_the_next_is_decoded():
    adapter = make_adapter()
    state = hf_state_dict()
    watched = {k: weakref.ref(v) for k, v in state.items() if k.endswith(("_blocks", "_scales"))}
    decode = adapter._convert_moe_packed_tensors
    alive = []

    def watching(blocks, scales):
        alive.append([name for name, reference in watched.items() if reference() is not None])
        return decode(blocks, scales)

    adapter._convert_moe_packed_tensors = watching
    adapter.from_hf(state)
    assert [len(names) for names in alive] == [4, 2]
    assert all(reference() is None for reference in watched.values())


@pytest.mark.parametrize("rows_per_chunk", [1, 4, 1 << 25])
@pytest.mark.parametrize("block_bytes", [1, 16])
def test_any_chunk_and_any_block(rows_per_chunk, block_bytes):
    blocks, scales = packed()
    blocks = blocks[..., :block_bytes]
    ours = make_adapter()._convert_moe_packed_tensors(
        blocks, scales, dtype=torch.float32, rows_per_chunk=rows_per_chunk
    )
    assert ours.equal(mxfp4.convert_moe_packed_tensors(blocks, scales, dtype=torch.float32))


def test_nothing_asks_cuda_or_a_process_group_where_there_is_none():
    """With a GPU that others use, and no process group: a plain single process."""
    adapter = make_adapter()
    adapter.config = SimpleNamespace(num_hidden_layers=1)
    asked = AssertionError("asked")
    with (
        patch("torch.cuda.is_available", return_value=True),
        patch("torch.cuda.empty_cache", side_effect=asked),
        patch("torch.cuda.current_device", side_effect=asked),
        patch("torch.Tensor.cuda", side_effect=asked),
        patch("torch.distributed.get_world_size", side_effect=asked),
        patch("torch.distributed.get_rank", side_effect=asked),
    ):
        state = adapter.from_hf(hf_state_dict())
        assert not state[EXPERTS + "down_projs"].is_cuda
        storage = adapter.to_hf(state, quantization=True)
        assert not storage[PAIRS[0] + "_blocks"].is_cuda
        assert adapter.to_hf(state, quantization="values").keys() == storage.keys()
        parts = list(adapter.iter_checkpoint_load_parts(state))
        parts[1].checkpoint_tensors[PAIRS[0] + "_scales"].zero_()
        parts[1].finish()
    assert len(parts) == 2


def test_what_only_has_a_local_tensor_is_decoded_there():
    blocks, scales = packed()
    result = make_adapter()._convert_moe_packed_tensors(
        SimpleNamespace(to_local=lambda: blocks), SimpleNamespace(to_local=lambda: scales)
    )
    assert result.equal(mxferry.dequantize(blocks, scales))


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("missing_partner", lambda state: state.pop(PAIRS[1] + "_scales")),
        ("missing_partner", lambda state: state.pop(PAIRS[1] + "_blocks")),
        ("name_collision", lambda state: state.update({PAIRS[1]: torch.ones(1)})),
        (
            "wrong_dtype",
            lambda state: state.update({PAIRS[1] + "_blocks": torch.ones(2, 7, 3, 16)}),
        ),
        ("wrong_shape", lambda state: state.update({PAIRS[1] + "_scales": packed()[1][:1]})),
    ],
)
def test_errors_name_the_tensor(code, change):
    state = hf_state_dict()
    change(state)
    with pytest.raises(mxferry.Error, match=PAIRS[1]) as raised:
        make_adapter().from_hf(state)
    assert raised.value.code == code and raised.value.tensor == PAIRS[1]
    # What was not decoded is still there.
    assert PAIRS[1] in state or any(name.startswith(PAIRS[1] + "_") for name in state)


def test_it_is_what_the_command_converts_to(model, tmp_path):
    """Law: verbs agree, in memory and in files."""
    mxferry.convert(model, tmp_path / "nemo", to="nemo", attn="te", sync=False)
    expected = read(tmp_path / "nemo")
    state = make_adapter("te").from_hf(read(model))
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert tensor.equal(expected[name]), name
    assert make_adapter("te").to_hf(state).keys() == {
        name.removesuffix("_blocks") for name in read(model) if not name.endswith("_scales")
    }
