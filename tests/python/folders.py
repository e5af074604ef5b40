"""Reading checkpoint folders as the tests compare them."""

from safetensors.torch import load_file


def read(folder):
    """All tensors of a folder by name."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return tensors
