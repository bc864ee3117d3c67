#!/usr/bin/env python3
"""Holds the source tree to docs/architecture.md: reads every #include and fails on an arrow that
points up, and on technology outside the room it belongs to.

    tools/check_layers.py [ROOT]
"""

import re
import sys
from pathlib import Path

# A room may include itself and rooms of a lower level.
LEVELS = {
    "core": 0,
    "backend": 1,
    "attention": 2,
    "text": 3,
    "model": 3,
    "train": 4,
    "infer": 4,
    "apps": 5,
    "python": 5,
}

# The room that owns each public header include/tnl/NAME.h.
PUBLIC_HEADERS = {
    "status": "core",
    "tensor": "core",
    "device": "backend",
    "attention": "attention",
    "attention_plan": "backend",
    "tokenizer": "text",
    "model": "model",
    "train": "train",
    "session": "infer",
    "batch": "infer",
}

SOURCES = {".h", ".cc", ".cu", ".cuh", ".inc"}
DEVICE_SOURCES = {".cu", ".cuh"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
CUDA_HEADER = re.compile(r"^(cuda|cublas|nccl|nvrtc|nvtx|cooperative_groups)")
SIMD_HEADER = re.compile(r"^([a-z]*intrin|x86gprintrin|arm_neon|arm_sve|hwy/.*)\.h$")
TORCH_HEADER = re.compile(r"^(torch|ATen|c10|pybind11)/|^Python\.h$")
DEVICE_CODE = re.compile(r"\b__(global|device|shared|constant)__\b|<<<")
FOREIGN_TYPE = re.compile(
    r"\b(cuda[A-Z]\w*_t|CU\w+_st|__m(128|256|512)\w*|__nv_\w+|at::\w+|torch::\w+|c10::\w+"
    r"|vector_size|__attribute__)"
)
COMMENT = re.compile(r"//.*$")


class Checker:
    def __init__(self, root):
        self.root = root
        self.findings = []
        self.files = 0

    def run(self):
        for top in ("include", "src", "apps", "python"):
            for path in sorted((self.root / top).rglob("*")):
                if path.suffix in SOURCES and path.is_file():
                    self.check_file(path)
        return self.findings

    def report(self, path, line, text):
        self.findings.append(f"{path.relative_to(self.root)}:{line}: {text}")

    def check_file(self, path):
        self.files += 1
        room = self.room_of(path)
        if room is None:
            self.report(path, 1, f"belongs to no room; known are {', '.join(LEVELS)}, and a public "
                                 "header is listed in tools/check_layers.py")
            return
        if path.suffix in DEVICE_SOURCES and not self.is_under(path, "src/backend/cuda"):
            self.report(path, 1, "device code belongs into src/backend/cuda")
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            include = INCLUDE.match(line)
            if include and include.group(1):
                self.check_own_include(path, number, room, include.group(1))
            elif include:
                self.check_foreign_include(path, number, room, include.group(2))
            else:
                self.check_code(path, number, room, COMMENT.sub("", line))

    def room_of(self, path):
        parts = path.relative_to(self.root).parts
        if parts[0] == "include":
            is_public = len(parts) == 3 and parts[1] == "tnl" and path.suffix == ".h"
            return PUBLIC_HEADERS.get(path.stem) if is_public else None
        if parts[0] in ("apps", "python"):
            return parts[0]
        return parts[1] if len(parts) > 2 and parts[1] in LEVELS else None

    def resolve(self, path, name):
        for base in (path.parent, self.root / "include", self.root / "src", self.root / "apps"):
            candidate = base / name
            if candidate.is_file():
                return candidate.resolve()
        return None

    def check_own_include(self, path, number, room, name):
        target = self.resolve(path, name)
        if target is None or not target.is_relative_to(self.root):
            self.report(path, number, f'"{name}" is no file of this repository; a foreign header is '
                                      "included with <>")
            return
        if self.is_public(path) and not self.is_public(target):
            self.report(path, number, f'a public header must not include the internal "{name}"')
            return
        if room == "python" and not (self.is_public(target) or self.is_under(target, "python")):
            self.report(path, number, f'python/ is built on the public headers, not on "{name}"')
            return
        other = self.room_of(target)
        if other is not None and other != room and LEVELS[other] >= LEVELS[room]:
            self.report(path, number, f'{room} must not include {other} ("{name}"): arrows point '
                                      "down only")
        cuda = self.root / "src" / "backend" / "cuda"
        if target.is_relative_to(cuda) and not path.is_relative_to(cuda):
            self.report(path, number, f'"{name}": src/backend/cuda is loaded at run time, nothing '
                                      "outside includes it")

    def check_foreign_include(self, path, number, room, name):
        if self.is_public(path) and re.search(r"[/.]", name):
            self.report(path, number, f"a public header must not include <{name}>: only tnl/ and "
                                      "the standard library")
        elif CUDA_HEADER.match(name) and not self.is_under(path, "src/backend/cuda"):
            self.report(path, number, f"<{name}>: CUDA is used in src/backend/cuda only")
        elif SIMD_HEADER.match(name) and room != "backend":
            self.report(path, number, f"<{name}>: SIMD is used in src/backend only")
        elif TORCH_HEADER.match(name) and room != "python":
            self.report(path, number, f"<{name}>: torch and Python are used in python/ only")
        elif name.startswith("CLI/") and room != "apps":
            self.report(path, number, f"<{name}>: only apps parses command lines")

    def check_code(self, path, number, room, line):
        if path.suffix not in DEVICE_SOURCES and DEVICE_CODE.search(line):
            self.report(path, number, "device code belongs into a .cu or .cuh file")
        if self.is_public(path) and FOREIGN_TYPE.search(line):
            self.report(path, number, "a public header must not show CUDA, SIMD or torch types")
        if room != "apps" and re.search(r"\b(std::)?(_?exit|quick_exit)\s*\(", line):
            self.report(path, number, "the library returns a Status; only apps may exit")

    def is_public(self, path):
        return self.is_under(path, "include")

    def is_under(self, path, folder):
        return path.is_relative_to(self.root / folder)


def main(arguments):
    default_root = Path(__file__).resolve().parent.parent
    root = Path(arguments[0]).resolve() if arguments else default_root
    checker = Checker(root)
    findings = checker.run()
    for finding in findings:
        print(finding)
    if checker.files == 0:
        print(f"{root}: no source file found")
        return 1
    print(f"layers: {checker.files} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
