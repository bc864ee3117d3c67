#!/usr/bin/env python3
"""Installs PyTorch into the running virtual environment for use on the CPU alone.

The package index has one x86-64 build, made for CUDA: about 0.5 GB, and 3 GB more of CUDA libraries
that the loader wants to see at the import but no CPU program needs. This takes the wheel without
them and puts a small library of the same name in the place of each, whose functions answer
"no CUDA device".

    python -m venv .venv && .venv/bin/python tools/install_torch_cpu.py [torch==VERSION]
"""

import collections
import glob
import importlib.util
import os
import re
import subprocess
import sys
import tempfile

# What torch imports at the start, beside itself.
PURE_PYTHON = ["typing_extensions", "sympy", "networkx", "jinja2", "filelock", "fsspec", "numpy"]
# Libraries of these names come with CUDA; everything else is the system's or torch's own.
CUDA_LIBRARY = re.compile(r"^lib(cu|nv|nccl)")


def pip(*arguments):
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         *arguments], check=True)


def lines(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def needed(library):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", "\n".join(lines("readelf", "-d", library)))


def version_owners(library):
    """Symbol version -> the library it is wanted from."""
    owners, file = {}, None
    for line in lines("readelf", "-V", library):
        if found := re.search(r"File: (\S+)", line):
            file = found.group(1)
        elif (found := re.search(r"Name: (\S+)", line)) and file:
            owners[found.group(1)] = file
    return owners


def missing_symbols(libraries):
    """CUDA library -> version -> names of functions; version "" where there is none."""
    wanted = collections.defaultdict(lambda: collections.defaultdict(set))
    defined, loose = set(), {}
    for library in libraries:
        owners = version_owners(library)
        cuda = [name for name in needed(library) if CUDA_LIBRARY.match(name)]
        for line in lines("nm", "-D", library):
            kind, symbol = line.split()[-2:]
            name, _, version = symbol.replace("@@", "@").partition("@")
            if kind not in "Uwv":
                defined.add(name)
            elif kind == "U" and version and CUDA_LIBRARY.match(owners.get(version, "")):
                wanted[owners[version]][version].add(name)
            elif kind == "U" and not version and re.match(r"(cu|nv|nccl|Nv)[a-zA-Z]*[A-Z_]", name):
                loose[name] = cuda
        for name in cuda:
            wanted[name][""]  # at least the file
    for name, owners in loose.items():
        if name not in defined and owners:
            prefix = max(owners, key=lambda o: len(os.path.commonprefix([o[3:].lower(), name.lower()])))
            wanted[prefix][""].add(name)
    return wanted


def stand_in(directory, soname, versions):
    source = "static void* handle[8];\n"  # what registering device code at the start returns
    script = ""
    for version, names in versions.items():
        for name in sorted(names):
            answer = "(long)handle" if name.startswith("__cuda") else "100"  # no device
            source += f"long {name}(void) {{ return {answer}; }}\n"
        if version:
            script += f"{version} {{ global: {' '.join(n + ';' for n in sorted(names))} }};\n"
    with tempfile.TemporaryDirectory() as work:
        command = ["gcc", "-shared", "-fPIC", "-fno-builtin", "-w", f"-Wl,-soname,{soname}",
                   "-o", os.path.join(directory, soname), os.path.join(work, "x.c")]
        with open(os.path.join(work, "x.c"), "w") as file:
            file.write(source)
        if script:
            with open(os.path.join(work, "x.map"), "w") as file:
                file.write(script)
            command.insert(1, f"-Wl,--version-script={os.path.join(work, 'x.map')}")
        subprocess.run(command, check=True)


def main():
    wanted_torch = sys.argv[1] if len(sys.argv) > 1 else "torch"
    if importlib.util.find_spec("torch") is None:
        pip("--no-deps", wanted_torch)
        pip(*PURE_PYTHON)
    directory = os.path.join(os.path.dirname(importlib.util.find_spec("torch").origin), "lib")
    libraries = [f for f in glob.glob(os.path.join(directory, "*.so*"))
                 if not CUDA_LIBRARY.match(os.path.basename(f))]
    for soname, versions in missing_symbols(libraries).items():
        stand_in(directory, soname, versions)
    subprocess.run([sys.executable, "-c", "import torch; print('PyTorch', torch.__version__)"],
                   check=True)


if __name__ == "__main__":
    main()
