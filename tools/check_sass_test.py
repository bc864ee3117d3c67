#!/usr/bin/env python3
"""What check_sass.py finds in a few lines of machine code, and what it lets pass."""

import unittest

from check_sass import hazards

PRODUCT = "HGMMA.64x64x16.F32.BF16 R24, R88, gdesc[UR8], R24"


def listing(*instructions):
    return [f"        /*{16 * i:04x}*/    {text} ;   /* 0x0 */" for i, text in enumerate(instructions)]


def found(*instructions):
    return [register for _, _, register in hazards(listing(*instructions))]


class Hazards(unittest.TestCase):
    def test_operand_or_accumulator_written_in_flight(self):
        self.assertEqual(found(PRODUCT + ", gsb0", "FMUL R90, R1, R2"), [90])
        self.assertEqual(found(PRODUCT, "MOV R30, R1"), [30])
        self.assertEqual(found(PRODUCT + ", gsb0", "LDSM.16.MT88.4 R86, [R1]"), [88, 89])
        self.assertEqual(found(PRODUCT + ", gsb0", "@!P0 LDS.64 R90, [R1]"), [90, 91])

    def test_free_behind_the_wait_that_covers_it(self):
        wait = "WARPGROUP.DEPBAR.LE gsb0, 0x0"
        self.assertEqual(found(PRODUCT + ", gsb0", wait, "FMUL R90, R1, R2"), [])
        second = "HGMMA.64x64x16.F32.BF16 R56, R92, gdesc[UR8], R56, gsb0"
        one = "WARPGROUP.DEPBAR.LE gsb0, 0x1"
        self.assertEqual(found(PRODUCT + ", gsb0", second, one, "MOV R88, R1"), [])
        self.assertEqual(found(PRODUCT + ", gsb0", second, one, "MOV R92, R1"), [92])

    def test_reads_and_other_registers_pass(self):
        self.assertEqual(found(PRODUCT + ", gsb0", "STS [R88], R89", "FMUL R1, R88, R24"), [])
        shared = "HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8], RZ, !UPT, gsb0"
        self.assertEqual(found(shared, "MOV R88, R1"), [])


if __name__ == "__main__":
    unittest.main()
