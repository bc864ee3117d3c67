"""Lightning attention and TransNormerLLM: the tnl.cpp engine from Python.

`lightning_attention` and `lightning_attention_step` are the operator on PyTorch tensors, with
autograd; `tnl.nn` holds modules over it, `tnl.compat` drop-ins for other libraries' calls, and
`Session` generates text with the C++ engine alone, without PyTorch.
"""

import importlib

from tnl._core import Session

__version__ = "0.1.0"
__all__ = ["Session", "lightning_attention", "lightning_attention_step"]


# What needs PyTorch is imported when first asked for.
def __getattr__(name):
    if name in ("lightning_attention", "lightning_attention_step"):
        value = getattr(importlib.import_module("tnl.ops"), name)
    elif name in ("compat", "convert", "nn", "ops"):
        return importlib.import_module(f"tnl.{name}")  # which becomes an attribute
    else:
        raise AttributeError(f"module 'tnl' has no attribute '{name}'")
    globals()[name] = value
    return value
