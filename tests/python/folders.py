"""Reading checkpoint folders as the tests compare them."""

from safetensors.torch import load_file


def read(folder):
    """All tensors of a folder by name."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return tensors


def contents(folder):
    """The bytes of all files of a folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
