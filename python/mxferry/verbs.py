"""The command's verbs as functions. Paths are folders, or Hub names in the local cache.

`progress(done, total)` is called with bytes, on the calling thread; an exception that it raises
stops the run, as does Ctrl-C. A conversion that was stopped can be resumed.
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any

from . import _core
from .dcp import as_safetensors, is_dcp
from .errors import Error
from .reports import (
    ConvertPlan,
    ConvertReport,
    FinishReport,
    InspectReport,
    SampleReport,
    VerifyManifestReport,
    VerifyReport,
)

Path = str | os.PathLike[str]
Progress = Callable[[int, int], Any]

_GIB = 1 << 30


def convert(
    source: Path,
    destination: Path,
    *,
    to: str = "hf",
    attn: str = "flex",
    dtype: str | None = None,
    dense_dtype: str | None = None,
    quant_mode: str = "gptoss",
    reference: Path | None = None,
    orientation: str | None = None,
    exclude: str = "",
    max_shard_size: int = 5_000_000_000,
    dcp_shards: int = 0,
    threads: int = 0,
    max_memory: int = _GIB,
    sync: bool = True,
    allow_nonfinite: bool = False,
    strict: bool = False,
    checksum: bool = False,
    verify: bool = False,
    force: bool = False,
    resume: bool = False,
    rank: int = 0,
    world: int = 1,
    progress: Progress | None = None,
) -> ConvertReport:
    """Converts a checkpoint, as `mxferry convert` does, which explains the options.

    to: "hf", "nemo", "original", "torchtitan", "unsloth", "mlx" or "compressed-tensors". dtype:
    "bf16", "f16", "f32" or "mxfp4". Sizes are in bytes. dcp_shards=N writes the files of N ranks, as
    torch.distributed.checkpoint does. strict refuses a source of which there is a warning. checksum
    also writes SHA256SUMS, and verify reads everything
    back and compares. With `world`, this does part `rank` of `world`; when all parts are done, one
    process calls finish(), which makes a checkpoint of them.

    A source of torch.distributed.checkpoint (`.distcp` files) is read by PyTorch, by way of a
    temporary safetensors file beside the destination: not in parts, and not to be resumed.
    Raises Error.
    """
    options = _options(
        locals(),
        source=os.fspath(source),
        reference=None if reference is None else os.fspath(reference),
    )
    if not is_dcp(pathlib.Path(source)):
        return _core.convert(progress, **options)
    if world > 1 or resume:
        text = f"{source}: a checkpoint of torch.distributed.checkpoint is converted by one process"
        raise Error(f"{text}, and anew", "unsupported", "usage", file=os.fspath(source))
    beside = pathlib.Path(destination).absolute().parent
    with as_safetensors(pathlib.Path(source), beside) as folder:
        return _core.convert(progress, **options | {"source": os.fspath(folder)})


def plan_conversion(
    source: Path,
    destination: Path,
    *,
    to: str = "hf",
    attn: str = "flex",
    dtype: str | None = None,
    dense_dtype: str | None = None,
    quant_mode: str = "gptoss",
    reference: Path | None = None,
    orientation: str | None = None,
    exclude: str = "",
    max_shard_size: int = 5_000_000_000,
    dcp_shards: int = 0,
    threads: int = 0,
    max_memory: int = _GIB,
    rank: int = 0,
    world: int = 1,
) -> ConvertPlan:
    """Plans what convert() would do, as `mxferry convert --dry-run` does. Reads headers only."""
    return _core.plan_conversion(
        **_options(
            locals(),
            source=os.fspath(source),
            reference=None if reference is None else os.fspath(reference),
        )
    )


def finish(destination: Path) -> FinishReport:
    """Makes a checkpoint of all parts of a conversion, as `mxferry finish` does. Raises Error."""
    return _core.finish(os.fspath(destination))


def verify(
    a: Path,
    b: Path,
    *,
    threads: int = 0,
    max_memory: int = _GIB,
    orientation_a: str | None = None,
    orientation_b: str | None = None,
    html: bool = False,
    progress: Progress | None = None,
) -> VerifyReport:
    """Compares two checkpoints of any layouts and dtypes, as `mxferry verify` does.

    With html, the report includes itself as an HTML page. Raises Error, but not for differences.
    """
    return _core.verify(progress, html, **_options(locals(), a=os.fspath(a), b=os.fspath(b)))


def verify_manifest(
    source: Path, *, threads: int = 0, progress: Progress | None = None
) -> VerifyManifestReport:
    """Compares a folder's files with its SHA256SUMS, as `mxferry verify --manifest` does.

    Compares a download from the Hub with the Hub's hashes. Raises Error, but not for damaged files.
    """
    return _core.verify_manifest(progress, **_options(locals(), source=os.fspath(source)))


def inspect(source: Path) -> InspectReport:
    """What a checkpoint holds, and every problem in it; reads headers only."""
    return _core.inspect(os.fspath(source))


def sample(
    destination: Path,
    *,
    preset: str = "tiny",
    layers: int | None = None,
    experts: int | None = None,
    hidden: int | None = None,
    intermediate: int | None = None,
    vocab: int | None = None,
    seed: int = 0,
    to: str = "hf",
    attn: str = "flex",
    dtype: str | None = None,
    wild: bool = False,
    progress: Progress | None = None,
) -> SampleReport:
    """Writes a synthetic checkpoint, as `mxferry sample` does.

    preset: "tiny", "20b-layer" or "120b-layer"; sizes that are given replace the preset's. Equal
    options give equal bytes.
    """
    return _core.sample(progress, **_options(locals()))


def _options(arguments: dict[str, Any], **replaced: Any) -> dict[str, Any]:
    """A function's arguments as the library's options, without those that are not options."""
    return {k: v for k, v in (arguments | replaced).items() if k not in ("progress", "html")}
