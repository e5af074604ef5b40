"""NeMo AutoModel's model and loader of gpt-oss, as they run without a GPU."""

from pathlib import Path
from unittest.mock import patch

import torch
from nemo_automodel.components.checkpoint.checkpointing import Checkpointer, CheckpointingConfig
from nemo_automodel.components.models.common import BackendConfig
from nemo_automodel.components.models.gpt_oss import model
from transformers import GptOssConfig

BACKEND = {"linear": "torch", "rms_norm": "torch", "experts": "torch", "dispatcher": "torch"}


def gpt_oss(folder):
    """The model of a checkpoint folder, not loaded, in bfloat16."""
    backend = BackendConfig(attn="flex", rope_fusion=False, **BACKEND)
    # All that it asks of CUDA is the number of a device, for a later forward pass.
    with patch("torch.cuda.current_device", return_value=0):
        made = model.GptOssForCausalLM(GptOssConfig.from_pretrained(folder), backend=backend)
    return made.to(torch.bfloat16)


def checkpointer(folder, moe_mesh=None, save_consolidated=False, **options):
    config = CheckpointingConfig(
        checkpoint_dir=folder,
        model_repo_id="gpt-oss",
        save_consolidated=save_consolidated,
        **options,
    )
    return Checkpointer(config, dp_rank=0, tp_rank=0, pp_rank=0, moe_mesh=moe_mesh)


class Tokenizer:
    """All that saving asks of one."""

    def save_pretrained(self, folder):
        (Path(folder) / "tokenizer.json").write_text("{}")
