"""What each rank runs: NeMo AutoModel saves its sharded model and mxferry reads what it saved; and
the other way round."""

import mxferry.nemo
import torch.distributed as dist
from folders import read
from nemo_model import checkpointer
from ranks_dcp import same, same_files
from ranks_nemo import sharded


def check(folder):
    mxferry.nemo.install()
    if dist.get_rank() == 0:
        mxferry.convert(folder / "packed", folder / "bf16", to="hf", dtype="bf16", sync=False)
        mxferry.convert(folder / "packed", folder / "ranks", to="hf", dcp_shards=3, sync=False)
    dist.barrier()
    for ep in (1, 2, 4):
        model, moe = sharded(folder, ep)
        step = folder / f"epoch_0_step_{ep}"
        saving = checkpointer(folder, moe)
        saving.load_model(model, str(folder / "packed"), is_init_step=True)
        saving.save_model(model, str(step))
        saving.close()
        resumed, moe = sharded(folder, ep)
        checkpointer(folder, moe).load_model(resumed, str(folder / "ranks"))
        same(resumed.state_dict(), read(folder / "native"))
        dist.barrier()
        if dist.get_rank() > 0:
            continue
        report = mxferry.inspect(step)
        assert report.path == step / "model" and report.distributed and not report.problems
        assert len(report.shards) == dist.get_world_size()
        assert report.has_config and report.config == mxferry.inspect(folder / "packed").config
        # Training left nothing changed, so the weights return byte for byte.
        for dtype, original in (("bf16", "bf16"), ("mxfp4", "packed")):
            out = folder / f"{dtype}_of_{ep}"
            mxferry.convert(step, out, to="hf", dtype=dtype, sync=False)
            if dtype == "bf16":
                same_files(out, folder / original)
            assert mxferry.verify(out, folder / original).identical
            assert mxferry.inspect(out).has_config
            assert not list(out.glob("fqn_to*"))
    mxferry.nemo.uninstall()
