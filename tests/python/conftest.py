"""Fixtures; nothing here needs more than numpy, so that a part of the tests runs with that alone."""

import mxferry
import numpy as np
import pytest

# Hidden and intermediate size differ, so that a forgotten transpose does not pass.
EXPERTS, ROWS, GROUPS = 3, 70, 5


@pytest.fixture
def wild():
    """(blocks, scales) with every code under every scale from 0 to 254."""
    random = np.random.default_rng(7)
    blocks = random.integers(0, 256, (EXPERTS, ROWS, GROUPS, 16), dtype=np.uint8)
    scales = random.permutation(np.arange(EXPERTS * ROWS * GROUPS) % 255)
    return blocks, scales.astype(np.uint8).reshape(EXPERTS, ROWS, GROUPS)


@pytest.fixture
def tame(wild):
    """(blocks, scales) of weights that are finite in every dtype."""
    blocks, scales = wild
    return blocks, (scales % 16 + 112).astype(np.uint8)


@pytest.fixture
def model(tmp_path):
    """A small packed checkpoint in the hf layout."""
    mxferry.sample(tmp_path / "model", layers=2, experts=3, hidden=96, intermediate=160)
    return tmp_path / "model"
