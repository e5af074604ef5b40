"""convert, verify, inspect and sample as functions."""

import dataclasses
import os
import shutil
import signal
import threading

import mxferry
import pytest


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_convert_and_verify(model, tmp_path):
    calls = []
    report = mxferry.convert(
        model,
        tmp_path / "nemo",
        to="nemo",
        verify=True,
        sync=False,
        progress=lambda done, total: calls.append((threading.get_ident(), done, total)),
    )
    assert report.verified and report.loss is None
    assert (report.plan.from_, report.plan.to) == ("hf", "nemo")
    assert {ident for ident, _, _ in calls} == {threading.get_ident()}
    assert calls[-1][1] == calls[-1][2] > 0
    found = mxferry.verify(model, str(tmp_path / "nemo"), html=True)
    assert found.identical and found.total.different == 0 and found.html.startswith("<!")
    assert found.a == model and sum(found.scales_a) == found.total.blocks
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.identical = False


def test_the_way_back_with_a_reference(model, tmp_path):
    mxferry.convert(model, tmp_path / "dense", to="nemo", sync=False)
    report = mxferry.convert(
        tmp_path / "dense", tmp_path / "back", dtype="mxfp4", reference=model, sync=False
    )
    assert len(report.quantized) == 4
    assert all(tensor.kept == tensor.block_count > 0 for tensor in report.quantized)
    shards = [name for name in files(model) if name.endswith(".safetensors")]
    assert mxferry.verify(model, tmp_path / "back").identical and shards


def test_a_plan_is_what_will_be(model, tmp_path):
    options = {"to": "nemo", "dtype": "f32", "exclude": "lm_head", "max_shard_size": 300_000}
    plan = mxferry.plan_conversion(model, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists() and plan.excluded == 1
    report = mxferry.convert(model, tmp_path / "out", **options)
    assert [s.file for s in report.plan.shards] == [s.file for s in plan.shards]
    for shard in plan.shards:
        assert (tmp_path / "out" / shard.file).stat().st_size == shard.bytes
        assert {tensor.dtype for tensor in shard.tensors} == {"F32"}


def test_inspect(model):
    report = mxferry.inspect(model)
    assert report.layout == "hf" and report.packed and not report.problems
    assert (report.config.hidden_size, report.config.intermediate_size) == (96, 160)
    assert sum(total.bytes for total in report.by_dtype.values()) == report.total.bytes


def test_the_same_sample_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        report = mxferry.sample(tmp_path / name, seed=5, wild=True, layers=1)
    assert report.dtype == "mxfp4" and files(tmp_path / "a") == files(tmp_path / "b")


def test_what_the_callback_raises_stops_the_run(model, tmp_path):
    def fail(done, total):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        mxferry.convert(model, tmp_path / "out", progress=fail)
    # What is finished stays.
    mxferry.convert(model, tmp_path / "out", resume=True)
    assert mxferry.verify(model, tmp_path / "out").identical


def test_parts_make_what_one_process_makes(model, tmp_path):
    options = {"to": "nemo", "max_shard_size": 100_000}
    mxferry.convert(model, tmp_path / "alone", **options)
    for rank in (1, 0):
        plan = mxferry.plan_conversion(model, tmp_path / "out", rank=rank, world=2, **options)
        report = mxferry.convert(model, tmp_path / "out", rank=rank, world=2, **options)
        assert not report.finished and 0 < report.plan.part_bytes_out < report.plan.bytes_out
        assert plan.part_bytes_out == report.plan.part_bytes_out
    with pytest.raises(mxferry.Error, match="not finished"):
        mxferry.convert(tmp_path / "out", tmp_path / "copy")
    assert mxferry.finish(tmp_path / "out").parts == 2
    assert files(tmp_path / "out") == files(tmp_path / "alone")
    assert mxferry.convert(model, tmp_path / "out", resume=True, **options).was_complete


def test_ctrl_c_stops_the_run(tmp_path):
    mxferry.sample(tmp_path / "large", preset="20b-layer")
    # Python leaves the signal ignored where it was started so, as in the background of a shell.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    out = tmp_path / "out"
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt.start()
            # Long enough for the signal, whatever the machine: one of these is interrupted.
            for _ in range(20):
                shutil.rmtree(out, ignore_errors=True)
                mxferry.convert(tmp_path / "large", out, dtype="f32", sync=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not out.exists()


@pytest.mark.parametrize(
    ("code", "category", "options"),
    [
        ("invalid_argument", "usage", {"to": "gguf"}),
        ("invalid_argument", "usage", {"dense_dtype": "mxfp4"}),
        ("invalid_argument", "usage", {"exclude": "("}),
        ("destination_exists", "usage", {"destination": "."}),
        ("not_a_checkpoint", "source", {"source": "none"}),
        ("not_enough_memory", "limit", {"max_memory": 1}),
    ],
)
def test_errors_have_a_code_and_a_category(model, tmp_path, code, category, options):
    arguments = {"source": model, "destination": tmp_path / "out"}
    arguments |= {k: tmp_path / v for k, v in options.items() if k in arguments}
    options = {k: v for k, v in options.items() if k not in arguments}
    with pytest.raises(mxferry.Error) as raised:
        mxferry.convert(*arguments.values(), **options)
    assert (raised.value.code, raised.value.category) == (code, category)


def test_an_option_of_a_wrong_type_is_a_type_error(model, tmp_path):
    with pytest.raises(TypeError, match="threads"):
        mxferry.convert(model, tmp_path / "out", threads="many")
    with pytest.raises(TypeError):
        mxferry.convert(model, tmp_path / "out", layout="nemo")


def test_a_manifest_tells_what_has_changed(model, tmp_path):
    mxferry.convert(model, tmp_path / "out", checksum=True, sync=False)
    calls = []
    report = mxferry.verify_manifest(tmp_path / "out", progress=lambda *bytes: calls.append(bytes))
    assert report.intact and report.damaged == () and report.unlisted == ()
    assert report.files == len(files(tmp_path / "out")) - 1
    assert calls[-1] == (report.bytes_read, report.bytes_read)
    (tmp_path / "out" / "config.json").write_text("{}")
    report = mxferry.verify_manifest(tmp_path / "out", threads=1)
    assert not report.intact and report.manifest == "SHA256SUMS"
    assert [(file.name, file.problem) for file in report.damaged] == [("config.json", "differs")]
    with pytest.raises(mxferry.Error, match="no manifest"):
        mxferry.verify_manifest(model)
