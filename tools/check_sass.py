#!/usr/bin/env python3
"""Reads the machine code of sm_90a objects and fails where a register of a wgmma in flight is
written before the wait that covers it. ptxas reuses the registers of A operands while the tensor
cores still read them unless the source keeps them alive (ptx::wgmma_pin); nothing else tells.

    tools/check_sass.py OBJECT...        (CUOBJDUMP names the program; else it is on the path)
"""

import os
import re
import subprocess
import sys

INSTRUCTION = re.compile(r"\s*/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+\s+)?([\w.]+)\s*(.*?);")
REGISTER = re.compile(r"R(\d+)")
# Their first operand is no destination in a vector register.
NO_RESULT = ("ST", "SYNCS", "RED", "BRA", "UTMA", "BAR", "R2UR", "R2P", "MEMBAR", "FENCE")
LOADS = ("LDS", "LDL", "LDC", "LDG", "LD.")


def registers(operand, count):
    match = REGISTER.match(operand)
    return range(int(match[1]), int(match[1]) + count) if match else ()


def width(op):
    if op.startswith("LDSM"):
        return int(op[-1])
    if ".128" in op:
        return 4
    return 2 if "WIDE" in op or (".64" in op and op.startswith(LOADS)) else 1


def hazards(lines):
    """Yields (address, instruction, register); in program order, branches are not followed."""
    groups, current = [], set()  # registers of committed groups, and of the one being built
    for line in lines:
        match = INSTRUCTION.match(line)
        if not match:
            continue
        address, op, arguments = match.groups()
        operands = [x.strip() for x in arguments.split(",")]
        if op.startswith("HGMMA"):
            columns = int(re.match(r"HGMMA\.64x(\d+)", op)[1])
            current |= set(registers(operands[0], columns // 2)) | set(registers(operands[1], 4))
            if "gsb0" in arguments:
                groups.append(current)
                current = set()
        elif op.startswith("WARPGROUP.DEPBAR"):
            pending = int(operands[1], 16)
            groups = groups[len(groups) - pending :] if pending else []
        elif operands[0] != "RZ" and not op.startswith(NO_RESULT):
            busy = current.union(*groups)
            for register in registers(operands[0], width(op)):
                if register in busy:
                    yield address, f"{op} {arguments}", register


def main(paths):
    failed = instances = 0
    for path in paths:
        text = subprocess.run(
            [os.environ.get("CUOBJDUMP", "cuobjdump"), "-sass", path], capture_output=True, text=True, check=True
        ).stdout
        for part in text.split("Function : ")[1:]:
            name, *lines = part.split("\n")
            if not any("HGMMA" in line for line in lines):
                continue
            instances += 1
            found = list(hazards(lines))
            failed += bool(found)
            for address, instruction, register in found[:3]:
                print(f"{path}: {name}: {address}: {instruction} writes R{register} in flight")
            if found:
                print(f"{path}: {name}: {len(found)} such writes")
    print(f"{instances} kernels with wgmma, {failed} overwrite operands in flight")
    return 1 if failed or not instances else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
