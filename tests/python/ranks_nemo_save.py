"""What each rank runs: NeMo AutoModel saves its sharded model, consolidated by save_checkpoint."""

import mxferry.nemo
import torch.distributed as dist
from nemo_model import checkpointer
from ranks_nemo import same, sharded


def check(folder):
    mxferry.nemo.install(save_dtype="mxfp4")
    for ep in (1, 2, 4):
        model, moe = sharded(folder, ep)
        loading = checkpointer(folder, moe)
        loading.load_model(model, str(folder / "packed"), is_init_step=True)
        step = folder / f"step-{ep}"
        saving = checkpointer(folder, moe, save_consolidated="final")
        saving.save_model(model, str(step), is_final_checkpoint=True)
        if dist.get_rank() == 0:
            consolidated = step / "model" / "consolidated"
            assert mxferry.verify(folder / "packed", consolidated).identical
            assert mxferry.inspect(consolidated).problems == ()
            assert mxferry.inspect(consolidated).packed
        dist.barrier()
        resumed, moe = sharded(folder, ep)
        checkpointer(folder, moe).load_model(resumed, str(step / "model"))
        whole = {name: tensor.full_tensor() for name, tensor in model.state_dict().items()}
        same(resumed.state_dict(), whole)
        saving.close()
