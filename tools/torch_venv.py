#!/usr/bin/env python3
"""PyTorch for a machine without CUDA, from the package index's CUDA build.

    tools/torch_venv.py DIRECTORY [--torch VERSION]

makes a virtual environment whose `torch` computes on the CPU. The index's wheel for x86-64 Linux
names a dozen CUDA libraries of several gigabytes, none of which runs where there is no GPU. It is
installed without them (0.55 GB to fetch, 1.3 GB installed); for each library that is missing a stub
takes its place, whose functions all answer "no device", so that torch.cuda.is_available() is False.
Needs python3-venv, gcc and binutils.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

# What `import torch` needs of its declared dependencies, without the CUDA libraries and triton.
PURE = "numpy filelock typing_extensions sympy mpmath networkx jinja2 markupsafe fsspec setuptools".split()
NO_DEVICE = 100  # cudaErrorNoDevice


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def missing_libraries(libraries):
    """Names of the needed libraries that neither the wheel nor the C and C++ runtimes bring."""
    runtime = re.compile(r"lib(c|m|z|dl|rt|util|pthread|gcc_s|stdc\+\+|quadmath)\.so|ld-linux")
    shipped = {library.name for library in libraries}
    needed = set()
    for library in libraries:
        needed |= set(re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-d", str(library))))
    return {name for name in needed - shipped if not runtime.match(name)}


def undefined_symbols(libraries):
    """{version or '': {symbol}} of what the libraries want from others."""
    wanted = collections.defaultdict(set)
    for library in libraries:
        for line in output("nm", "-D", "--undefined-only", str(library)).splitlines():
            symbol, _, version = line.split()[-1].partition("@")
            wanted[version.strip("@")].add(symbol)
    return wanted


def stub_source(symbols):
    lines = [".text"]
    for symbol in sorted(symbols):
        lines.append(f".globl {symbol}\n.type {symbol}, @function\n{symbol}:")
    lines.append(f"    mov ${NO_DEVICE}, %eax\n    ret\n.section .rodata\n.string \"tnl stub\"\n"
                 ".section .note.GNU-stack,\"\",@progbits\n")
    return "\n".join(lines)


def build_stub(soname, versions, folder):
    """versions: {version or '': symbols}, all of which the stub defines."""
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        source = work / "stub.S"
        source.write_text(stub_source(set().union(*versions.values())))
        nodes = [f"{version} {{ global: {'; '.join(sorted(symbols))}; }};\n"
                 for version, symbols in versions.items() if version and symbols]
        script = work / "stub.map"
        script.write_text("".join(nodes))
        output("gcc", "-shared", "-nostdlib", f"-Wl,-soname,{soname}",
               *([f"-Wl,--version-script={script}"] if nodes else []),
               "-o", str(folder / soname), str(source))


def is_stub(library):
    return library.stat().st_size < 1 << 20 and b"tnl stub" in library.read_bytes()


def add_stubs(folder):
    # A stub of an earlier run is small and made anew.
    libraries = [path for path in sorted(folder.glob("lib*.so*")) if not is_stub(path)]
    missing = sorted(missing_libraries(libraries))
    wanted = undefined_symbols(libraries)
    runtime = re.compile(r"(GLIBC|GLIBCXX|CXXABI|GCC|GOMP|OMP)")
    others = {v for v in wanted if v and not runtime.match(v) and v not in missing}
    # Symbols without a version may come from any library; all stubs have them.
    unversioned = {s for s in wanted[""] if re.match(r"nccl|cusparseLt|cuFile|cu[A-Z]", s)}
    for soname in missing:
        versions = {soname: wanted.get(soname, set()), "": unversioned}
        for version in others:  # named after its library or not: NVSHMEM
            if soname.lower().startswith("lib" + version.lower()):
                versions[version] = wanted[version]
        build_stub(soname, versions, folder)
    return missing


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--torch", default="", help="version; the newest without it")
    arguments = parser.parse_args()
    python = arguments.directory / "bin" / "python"
    if not python.exists():
        output(sys.executable, "-m", "venv", str(arguments.directory))
    wheel = "torch" + (f"=={arguments.torch}" if arguments.torch else "")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-deps",
                    wheel, *PURE], check=True)
    where = output(str(python), "-c", "import importlib.util as u; "
                   "print(u.find_spec('torch').submodule_search_locations[0])").strip()
    stubs = add_stubs(pathlib.Path(where) / "lib")
    print(f"{len(stubs)} libraries stubbed: {' '.join(stubs)}")
    print(output(str(python), "-c", "import torch; print('torch', torch.__version__, "
                 "'cuda', torch.cuda.is_available(), 'threads', torch.get_num_threads())").strip())


if __name__ == "__main__":
    main()
