"""The operators that people would otherwise call, loaded from checkouts of their repositories.

Every load_* takes a checkout and returns (call, version, by_head): call(q, k, v) runs causal linear
attention with the first layer's slopes and scale 1 on [B, T, H, D], or on [B, H, T, D] by_head. What
a call takes beside them is made once a shape: a small tensor copied to the GPU waits for it, and what
the host does after that would be taken for time of the GPU.
"""

import ctypes
import functools
import importlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import types

import torch

MAMBA_CHUNK = 256


@functools.cache
def first_layer_slopes(heads, device="cuda"):
    return torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)], device=device)


def package(checkout, *names):
    """Makes the packages importable from the checkout without running their __init__.py, which
    would import far more."""
    root = pathlib.Path(checkout).resolve()
    for name in names:
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = module
    return root


def version_in(path, pattern):
    found = re.search(pattern, path.read_text())
    return found.group(1) if found else "unknown"


def load_chunk_simple_gla(checkout):
    """fla's chunk_simple_gla itself and its version. Its tuning is that of this process, not one kept
    on disk by an earlier one."""
    os.environ["FLA_CACHE_RESULTS"] = "0"
    root = package(checkout, "fla", "fla.ops")
    version = version_in(root / "fla" / "__init__.py", r'__version__ = "([^"]+)"')
    for name in ("fla", "fla.ops"):
        sys.modules[name].__version__ = version
    return importlib.import_module("fla.ops.simple_gla.chunk").chunk_simple_gla, version


def load_fla(checkout):
    operator, version = load_chunk_simple_gla(checkout)
    log_decay = functools.cache(lambda heads: -first_layer_slopes(heads))

    def call(q, k, v):
        return operator(q, k, v, g_gamma=log_decay(q.shape[2]), scale=1.0)[0]

    return call, f"fla {version}", False


def load_lightning(checkout):
    root = package(checkout, "lightning_attn", "lightning_attn.ops", "lightning_attn.ops.triton")
    version = version_in(root / "setup.py", r'version="([^"]+)"')
    # As its __init__.py does.
    operator = importlib.import_module("lightning_attn.ops.triton.lightning_attn2").lightning_attn2

    def call(q, k, v):
        return operator(q, k, v, first_layer_slopes(q.shape[1]))

    return call, f"lightning-attention {version}", True


def load_mamba(checkout):
    """Mamba-2's chunked scan with a step of one and a constant decay. It needs the package einops."""
    root = package(checkout, "mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton", "mamba_ssm.utils")
    version = version_in(root / "mamba_ssm" / "__init__.py", r'__version__ = "([^"]+)"')
    module = importlib.import_module("mamba_ssm.ops.triton.ssd_combined")

    @functools.lru_cache(maxsize=1)
    def constants(batch, tokens, heads, dtype):
        step = torch.ones(batch, tokens, heads, device="cuda", dtype=dtype)
        return step, -first_layer_slopes(heads)

    def call(q, k, v):
        step, log_decay = constants(*q.shape[:3], q.dtype)
        return module.mamba_chunk_scan_combined(v, step, log_decay, k, q, chunk_size=MAMBA_CHUNK)

    return call, f"Mamba-2 SSD {version}", False


# The example's main() is left out of the way; what it does for one call is done here for any shape.
KITTENS_ENTRY = r"""
#define main example_main
#include "linear_attention.cu"
#undef main
extern "C" int forward(void* q, void* k, void* v, void* o, float* slopes, size_t batch, size_t heads,
                       size_t tokens, cudaStream_t stream) {
  const auto tensor = [](void* data) { return static_cast<bf16*>(data); };
  const la_globals arguments =
      la_init(tensor(q), tensor(k), tensor(v), tensor(o), slopes, batch, heads, tokens);
  const int shared = kittens::MAX_SHARED_MEMORY - 1024;
  cudaFuncSetAttribute(la_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
  la_kernel<<<dim3(heads, batch), NUM_THREADS, shared, stream>>>(arguments, tokens);
  return cudaGetLastError();
}
"""


def load_thunderkittens(checkout):
    """Its linear_attention kernel, compiled with nvcc: forward only, width 128, bf16."""
    root = pathlib.Path(checkout).resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="thunderkittens-"))
    source, library = folder / "entry.cu", folder / "entry.so"
    source.write_text(KITTENS_ENTRY)
    subprocess.run(["nvcc", "-std=c++20", "-O3", "--use_fast_math", "--expt-extended-lambda",
                    "--expt-relaxed-constexpr", "-gencode", "arch=compute_90a,code=sm_90a",
                    "-DKITTENS_HOPPER", "-DNDEBUG", "-shared", "-Xcompiler=-fPIC",
                    f"-I{root / 'include'}", f"-I{root / 'kernels' / 'linear_attention'}",
                    str(source), "-lcuda", "-o", str(library)], check=True, capture_output=True)
    forward = ctypes.CDLL(str(library)).forward
    address, size = ctypes.c_void_p, ctypes.c_size_t
    forward.argtypes = [address] * 5 + [size] * 3 + [address]

    def call(q, k, v):
        batch, heads, tokens, width = q.shape
        if width != 128 or v.shape[-1] != 128:
            raise ValueError("only a width of 128")
        o, slopes = torch.empty_like(v), first_layer_slopes(heads)
        error = forward(q.data_ptr(), k.data_ptr(), v.data_ptr(), o.data_ptr(), slopes.data_ptr(),
                        batch, heads, tokens, torch.cuda.current_stream().cuda_stream)
        if error:
            raise RuntimeError(f"CUDA error {error}")
        return o

    return call, "ThunderKittens", True
