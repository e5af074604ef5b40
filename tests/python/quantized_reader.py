"""PyTorch's reader that decodes MXFP4, as it is meant to read."""

import dataclasses

from torch.distributed.checkpoint import QuantizedHuggingFaceStorageReader


class Reader(QuantizedHuggingFaceStorageReader):
    """PyTorch 2.13 corrects the size of packed tensors but not that of their one piece, and so fills
    as many columns as there are groups and leaves the others as they were.
    """

    def read_metadata(self):
        metadata = super().read_metadata()
        for name, entry in metadata.state_dict_metadata.items():
            if name.endswith("_blocks"):
                (piece,) = entry.chunks
                entry.chunks = [dataclasses.replace(piece, sizes=entry.size)]
        return metadata
