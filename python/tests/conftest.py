from pathlib import Path

import pytest
import torch

# Where the operator can run: the same tests for each.
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture
def data():
    """The small models whose outputs the published code computed."""
    return Path(__file__).resolve().parents[2] / "tests" / "data"
