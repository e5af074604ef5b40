"""What each rank runs: the adapters' helper on real DTensors, with chunks smaller than a shard."""

from types import SimpleNamespace

import mxferry
import nemo_automodel
import torch
import torch.distributed as dist
from nemo_automodel.components.models.gpt_oss.state_dict_adapter import GPTOSSStateDictAdapter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

SHAPE = 4, 10, 3  # experts, rows, groups: 120 rows of blocks, 60 on each of two ranks
WHOLE, SMALLER = 120, (60, 4)


def right(adapter_class, rows_per_chunk):
    generator = torch.Generator().manual_seed(1)
    blocks = torch.randint(0, 256, (*SHAPE, 16), dtype=torch.uint8, generator=generator)
    scales = torch.randint(100, 140, SHAPE, dtype=torch.uint8, generator=generator)
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("ep",))
    pair = [distribute_tensor(x, mesh, [Shard(0)]) for x in (blocks, scales)]
    adapter = adapter_class(None, None, SimpleNamespace(attn="flex"))
    found = adapter._convert_moe_packed_tensors(*pair, rows_per_chunk=rows_per_chunk)
    return found.full_tensor().equal(mxferry.dequantize(blocks, scales))


def check(_):
    assert all(right(mxferry.GPTOSSStateDictAdapter, n) for n in (WHOLE, *SMALLER))
    assert right(GPTOSSStateDictAdapter, WHOLE)
    smaller = [right(GPTOSSStateDictAdapter, n) for n in SMALLER]
    if dist.get_rank() == 0:
        print(nemo_automodel.__version__, smaller)
