"""Prints the logits that mlx-lm computes, as JSON: mlx_logits.py FOLDER TOKENS-AS-JSON."""

import json
import sys
from pathlib import Path

import mlx.core as mx
from mlx_lm.utils import load_model

model, _ = load_model(Path(sys.argv[1]))
model.set_dtype(mx.float32)
print(json.dumps(model(mx.array(json.loads(sys.argv[2]))).tolist()))
