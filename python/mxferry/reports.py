"""The verbs' reports. The fields are those of the C++ structs of the same names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a checkpoint, in plain words."""

    severity: str  # "fatal", "warning" or "note"
    code: str  # as Error.code
    file: str  # relative to the folder; may be empty
    tensor: str  # may be empty
    text: str


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a safetensors file; its bytes are [begin, end) of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class PlannedShard:
    file: str
    bytes: int
    tensors: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class ConvertPlan:
    """What a conversion will do. Sizes are in bytes; `peak_memory` is an upper bound."""

    source: Path
    from_: str
    to: str
    tensors_in: int
    tensors_out: int
    bytes_in: int
    bytes_out: int
    shards: tuple[PlannedShard, ...]
    carried: tuple[str, ...]
    passed_through: tuple[str, ...]
    excluded: int
    warnings: tuple[Problem, ...]
    threads: int
    peak_memory: int
    disk_needed: int
    disk_free: int
    destination_exists: bool
    rank: int  # this part's rank, out of `world`
    world: int
    part_bytes_in: int
    part_bytes_out: int


@dataclass(frozen=True)
class QuantizedTensor:
    """`kept` blocks have the reference's scale, `saturated` ones a weight beyond 6 * scale."""

    blocks: str
    block_count: int
    kept: int
    saturated: int


@dataclass(frozen=True)
class Difference:
    """How B differs from A. Zeros of either sign are equal; NaN is equal to NaN."""

    weights: int
    different: int
    zero_signs: int
    blocks: int
    blocks_changed: int
    blocks_saturated: int
    max_absolute_error: float
    max_relative_error: float
    signal: float
    noise: float
    sqnr_db: float  # infinite if nothing differs


@dataclass(frozen=True)
class ConvertReport:
    plan: ConvertPlan
    seconds: float
    underflows: int
    flushed: int
    quantized: tuple[QuantizedTensor, ...]
    resumed_shards: int  # already finished by an earlier run
    was_complete: bool  # nothing was left to do
    finished: bool  # the destination is a checkpoint; False if there are other parts
    verified: bool
    loss: Difference | None


@dataclass(frozen=True)
class FinishReport:
    parts: int  # 0: already finished
    files: int
    bytes: int


@dataclass(frozen=True)
class WeightPair:
    """One weight: its place in [expert, out, in] and its value on each side."""

    expert: int
    row: int
    column: int
    a: float
    b: float


@dataclass(frozen=True)
class ComparedParameter:
    tensor_a: str
    tensor_b: str
    kind: str
    layer: int | None
    shape: tuple[int, ...]
    codec_a: str
    codec_b: str
    bytes_identical: bool
    total: Difference
    experts: tuple[Difference, ...]
    worst: WeightPair | None
    transposed: bool
    halves: bool  # B has all rows of gate before those of up, A has them in turn


@dataclass(frozen=True)
class VerifyReport:
    """`scales_a` and `scales_b` count the blocks with each of the 256 scales."""

    identical: bool
    verdict: str
    a: Path
    b: Path
    layout_a: str
    layout_b: str
    parameters: tuple[ComparedParameter, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    mismatched: tuple[str, ...]
    warnings: tuple[Problem, ...]
    total: Difference
    scales_a: tuple[int, ...]
    scales_b: tuple[int, ...]
    bytes_read: int
    seconds: float
    html: str | None


@dataclass(frozen=True)
class DamagedFile:
    """A file that does not have the expected digest."""

    name: str
    expected: str
    found: str  # empty if the file could not be read
    problem: str  # "differs", "is missing", or why it could not be read


@dataclass(frozen=True)
class VerifyManifestReport:
    intact: bool
    path: Path
    manifest: str  # where the digests come from
    files: int
    damaged: tuple[DamagedFile, ...]
    unlisted: tuple[str, ...]  # files in the folder without a digest
    bytes_read: int
    seconds: float


@dataclass(frozen=True)
class TensorTotal:
    tensors: int
    bytes: int


@dataclass(frozen=True)
class InspectedShard:
    file: str
    tensors: int
    bytes: int


@dataclass(frozen=True)
class GptOssConfig:
    """The sizes of a model, under the names of config.json; 0 means unknown."""

    num_hidden_layers: int
    num_local_experts: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int


@dataclass(frozen=True)
class InspectedKind:
    """One kind of parameter of the model, over all layers."""

    kind: str  # in words, for example "experts' down projection"
    found: int
    expected: int  # one for each layer, or one
    form: str  # "MXFP4", "BF16", "BF16, F32", "tied to the embedding"; "" if missing
    order: str  # of dense experts, and how it is known: "[in, out] by the shape"; else ""


@dataclass(frozen=True)
class InspectReport:
    path: Path
    layout: str | None  # None: not recognized
    layout_reason: str
    attn: str
    packed: bool
    writer: str  # the program that wrote config.json, by its own word; may be empty
    programs: str  # that load the layout in this form, for people
    kinds: tuple[InspectedKind, ...]  # in the order of the model; empty without a layout
    has_config: bool
    config: GptOssConfig
    has_index: bool
    distributed: bool  # the files of a PyTorch run's ranks, each with chunks of tensors
    total: TensorTotal
    by_dtype: Mapping[str, TensorTotal]
    by_part: Mapping[str, TensorTotal]
    shards: tuple[InspectedShard, ...]
    unknown: tuple[str, ...]
    problems: tuple[Problem, ...]  # fatal ones first


@dataclass(frozen=True)
class SampleReport:
    dtype: str
    tensors: int
    files: int
    bytes: int
