#!/usr/bin/env python3
"""Plants one violation after the other in a small clean tree: check_layers.py must find each, at
its file and line, and nothing else."""

import tempfile
import unittest
from pathlib import Path

from check_layers import Checker

CLEAN = {
    "include/tnl/status.h": "#include <string>\n",
    "include/tnl/device.h": '#include "tnl/status.h"\n',
    "include/tnl/model.h": '#include "tnl/device.h"\n',
    "src/core/file.h": '#include "tnl/status.h"\n',
    "src/backend/backend.h": '#include "core/file.h"\n#include "tnl/device.h"\n',
    "src/backend/problem.h": '#include "backend.h"\n',
    "src/backend/cpu/simd/vec.cc": "#include <immintrin.h>\n",
    "src/backend/cuda/kernel.cu": "#include <cuda_runtime.h>\n__global__ void kernel() {}\n",
    "src/attention/plan.cc": '#include "backend/backend.h"\n',
    "src/text/loader.cc": '#include "core/file.h"\n',
    "src/model/model.cc": '// "train/loop.h" comes later\n#include "tnl/model.h"\n',
    "src/train/loop.h": '#include "tnl/model.h"\n',
    "src/infer/session.cc": '#include "tnl/model.h"\n',
    "apps/tnl/cli.h": "#include <CLI/CLI.hpp>\n",
    "apps/tnl/main.cc": '#include "train/loop.h"\n#include "tnl/cli.h"\nint f() { exit(1); }\n',
    "python/src/module.cc": '#include <Python.h>\n#include "tnl/model.h"\n',
}

# file, its content, line of the finding, words of the finding
PLANTED = [
    ("src/core/up.cc", '\n#include "backend/backend.h"\n', 2, "core must not include backend"),
    ("src/core/up.cc", '#include "tnl/device.h"\n', 1, "core must not include backend"),
    ("src/attention/up.cc", '#  include "tnl/model.h"\n', 1, "attention must not include model"),
    ("src/model/up.cc", '#include "train/loop.h"\n', 1, "model must not include train"),
    ("src/infer/across.cc", '#include "train/loop.h"\n', 1, "infer must not include train"),
    ("src/train/up.cc", '#include "tnl/cli.h"\n', 1, "train must not include apps"),
    ("include/tnl/tensor.h", '#include "tnl/model.h"\n', 1, "core must not include model"),
    ("include/tnl/tensor.h", '#include "core/file.h"\n', 1, "the internal"),
    ("include/tnl/tensor.h", "#include <fmt/format.h>\n", 1, "only tnl/ and the standard library"),
    ("include/tnl/tensor.h", "#include <cuda_runtime.h>\n", 1, "only tnl/ and the standard"),
    ("include/tnl/tensor.h", "void run(cudaStream_t stream);\n", 1, "must not show CUDA"),
    ("include/tnl/tensor.h", "__m512 load(const float* p);\n", 1, "must not show CUDA, SIMD"),
    ("include/tnl/tensor.h", "void run(at::Tensor x);\n", 1, "must not show CUDA, SIMD or torch"),
    ("include/tnl/surprise.h", "", 1, "belongs to no room"),
    ("src/attic/old.cc", "", 1, "belongs to no room"),
    ("src/model/x.cc", '#include "nowhere.h"\n', 1, "is no file of this repository"),
    ("src/model/x.cc", "#include <immintrin.h>\n", 1, "SIMD is used in src/backend only"),
    ("src/model/x.cc", "#include <cublasLt.h>\n", 1, "src/backend/cuda only"),
    ("src/model/x.cc", "#include <torch/torch.h>\n", 1, "python/ only"),
    ("src/model/x.cc", "#include <CLI/CLI.hpp>\n", 1, "only apps parses command lines"),
    ("src/model/x.cc", "void f() { std::exit(1); }\n", 1, "only apps may exit"),
    ("src/model/x.cc", "__device__ int x;\n", 1, "belongs into a .cu or .cuh file"),
    ("src/model/x.cu", "", 1, "belongs into src/backend/cuda"),
    ("python/src/x.cc", '#include "core/file.h"\n', 1, "built on the public headers"),
    ("src/backend/y.cc", '#include "backend/cuda/kernel.cu"\n', 1, "loaded at run time"),
]


class CheckLayersTest(unittest.TestCase):
    def findings(self, tree):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            for name, text in tree.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return Checker(root).run()

    def test_clean_tree(self):
        self.assertEqual(self.findings(CLEAN), [])

    def test_planted(self):
        for name, text, line, words in PLANTED:
            with self.subTest(name=name, text=text):
                found = self.findings({**CLEAN, name: text})
                self.assertEqual(len(found), 1, found)
                self.assertTrue(found[0].startswith(f"{name}:{line}: "), found[0])
                self.assertIn(words, found[0])


if __name__ == "__main__":
    unittest.main()
