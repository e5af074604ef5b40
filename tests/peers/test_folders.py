"""Folders that real programs write are converted to the model that was saved, or refused."""

import itertools
import json
import os
import random
import shutil
import subprocess

import torch
import transformers
from conftest import convert, read, sample
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from test_transformers import load, logits
from transformers import GptOssForCausalLM, Mxfp4Config

# Every how many of the mutations are run; MXFERRY_FOLDERS_STEP=1 for all.
STEP = int(os.environ.get("MXFERRY_FOLDERS_STEP", "4"))
VERSION = tuple(int(part) for part in transformers.__version__.split(".")[:3])


def refusal(source, *options) -> dict:
    """The error of a conversion that must not succeed."""
    command = [
        os.environ["MXFERRY"],
        "convert",
        str(source),
        str(source) + "-refused",
        "--to",
        "hf",
    ]
    ended = subprocess.run([*command, *options, "--json"], capture_output=True, text=True)
    assert ended.returncode == 3, ended.stdout + ended.stderr
    return json.loads(ended.stdout)["error"]


def save(tensors: dict, like, folder):
    """A checkpoint of these tensors with the other files of another one."""
    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(whole, folder / "model.safetensors", {"format": "pt"})
    return folder


def wrapped_states(model, store):
    """The state dicts of the model in real wrappers, by the wrapper's name."""
    yield "compiled", torch.compile(model).state_dict()
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=0, world_size=1)
    try:
        yield "ddp", torch.nn.parallel.DistributedDataParallel(model).state_dict()
    finally:
        torch.distributed.destroy_process_group()
    yield "module", torch.nn.ModuleDict({"policy": model}).state_dict()
    yield "backbone", model.model.state_dict() | {"lm_head.weight": model.lm_head.weight.detach()}
    model.model.layers[1] = torch.compile(model.model.layers[1])
    yield "layer", model.state_dict()


def test_what_wrappers_save(dense, tmp_path):
    model = load(dense)
    expected = logits(model)
    own = set(model.state_dict())
    for name, state in wrapped_states(model, tmp_path / "store"):
        assert set(state) != own, name
        source = save(state, dense, tmp_path / name)
        target = convert(source, tmp_path / f"{name}-hf", "--to", "hf", "--strict")
        assert logits(load(target)).equal(expected), name
        nemo = convert(source, tmp_path / f"{name}-nemo", "--to", "nemo", "--strict")
        back = convert(nemo, tmp_path / f"{name}-back", "--to", "hf")
        assert logits(load(back)).equal(expected), name


def test_an_adapter_is_refused_until_it_is_merged(dense, tmp_path):
    model = get_peft_model(load(dense), LoraConfig(target_modules=["q_proj", "v_proj"]))
    source = save(model.state_dict(), dense, tmp_path / "adapted")
    assert refusal(source)["code"] == "lora_adapter"
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    target = convert(tmp_path / "merged", tmp_path / "target", "--to", "hf")
    assert logits(load(target)).equal(logits(merged.eval()))


def test_experts_that_transformers_loses(packed, dense, tmp_path):
    model = load(packed, quantization_config=Mxfp4Config(dequantize=True))
    model.save_pretrained(tmp_path / "saved")
    if (5, 5, 2) <= VERSION < (5, 21, 0):
        error = refusal(tmp_path / "saved", "--dtype", "mxfp4", "--verify")
        assert "5.5.2 to 5.20" in error["message"]
    else:
        target = convert(tmp_path / "saved", tmp_path / "target", "--to", "hf")
        assert logits(load(target)).equal(logits(model))
    model.save_pretrained(tmp_path / "right", save_original_format=False)
    target = convert(tmp_path / "right", tmp_path / "right-target", "--to", "hf", "--strict")
    assert logits(load(target)).equal(logits(load(dense)))


def test_a_tied_model(dense, tmp_path):
    model = load(dense)
    config = model.config
    config.tie_word_embeddings = True
    state = {name: t for name, t in model.state_dict().items() if name != "lm_head.weight"}
    tied = GptOssForCausalLM(config).to(torch.bfloat16)
    tied.load_state_dict(state, strict=False)
    tied.tie_weights()
    tied.save_pretrained(tmp_path / "tied")
    assert "lm_head.weight" not in read(tmp_path / "tied")
    expected = logits(load(tmp_path / "tied"))
    for layout in ("hf", "original", "mlx"):
        there = convert(tmp_path / "tied", tmp_path / layout, "--to", layout)
        back = convert(there, tmp_path / f"{layout}-back", "--to", "hf")
        assert logits(load(back)).equal(expected), layout


def mutations(tensors: dict, randomness: random.Random):
    """What may happen to one tensor of a folder: (what, the tensors after it)."""
    names = sorted(tensors)
    for name in names:
        other = randomness.choice([n for n in names if n != name])
        rest = {n: t for n, t in tensors.items() if n != name}
        tensor = tensors[name]
        yield f"{name} removed", rest
        yield f"{name} renamed", rest | {name + "_old": tensor}
        yield f"{name} without its first part", rest | {name.split(".", 1)[1]: tensor}
        yield f"{name} wrapped", rest | {"module." + name: tensor}
        yield f"{name} deep in a wrapper", rest | {"model.policy." + name: tensor}
        yield f"{name} for {other}", rest | {other: tensor}
        yield f"{name} as F32", rest | {name: tensor.float()}
        yield f"{name} as F8", rest | {name: tensor.to(torch.float8_e4m3fn)}
        yield f"{name} as I8", rest | {name: tensor.to(torch.int8)}
        yield f"{name} flat", rest | {name: tensor.flatten()}
        yield f"{name} twice", tensors | {"module." + name: tensor}
        yield f"{name} beside it", tensors | {"ema." + name: tensor}
        yield f"{name} quantized", tensors | {name + ".absmax": tensor.flatten()[:1]}


def test_exit_0_means_a_model_that_transformers_loads(tmp_path):
    """Whatever happens to one tensor: an error, a warning, or a folder with just the right names."""
    source = sample(tmp_path / "source")
    plain = convert(source, tmp_path / "plain", "--to", "hf")
    expected = load(plain).state_dict().keys()
    tensors = read(plain)
    outcomes = {"same": 0, "warned": 0, "refused": 0}
    broken, mutant = tmp_path / "broken", tmp_path / "mutant"
    all_mutations = mutations(tensors, random.Random(15))
    for what, changed in itertools.islice(all_mutations, random.randrange(STEP), None, STEP):
        shutil.rmtree(broken, ignore_errors=True)
        shutil.rmtree(mutant, ignore_errors=True)
        save(changed, plain, broken)
        command = [os.environ["MXFERRY"], "convert", broken, mutant, "--to", "hf", "--no-sync"]
        ended = subprocess.run([*command, "--json"], capture_output=True, text=True)
        report = json.loads(ended.stdout)
        if ended.returncode != 0:
            assert (ended.returncode, report["ok"]) == (3, False), (what, ended)
            assert not mutant.exists(), what
            outcomes["refused"] += 1
            continue
        plan = report["plan"]
        written = read(mutant)
        is_same = written.keys() == expected and all(
            written[name].shape == tensors[name].shape for name in expected
        )
        warned = plan["passed_through"] or any(
            problem["severity"] == "warning" for problem in plan["warnings"]
        )
        assert is_same or warned, what
        outcomes["same" if is_same else "warned"] += 1
    print(outcomes)
    assert all(count > 0 for count in outcomes.values()), outcomes
