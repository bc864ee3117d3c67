#!/usr/bin/env python3
"""Writes src/text/unicode_tables.cc: where the class of code points changes.

Usage: tools/make_unicode_tables.py > src/text/unicode_tables.cc
"""
import unicodedata

OTHER, LETTER, NUMBER, SPACE = range(4)
# The property White_Space, which unicodedata does not have.
SPACES = {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
SPACES.update(range(0x09, 0x0E), range(0x2000, 0x200B))


def code_class(code):
    if code in SPACES:
        return SPACE
    return {"L": LETTER, "N": NUMBER}.get(unicodedata.category(chr(code))[0], OTHER)


def main():
    changes, last = [], None
    for code in range(0x110000):
        now = code_class(code)
        if now != last:
            changes.append(code << 2 | now)
            last = now
    print(f"// Made by tools/make_unicode_tables.py from Unicode {unicodedata.unidata_version}.")
    print('#include "text/unicode.h"\n\nnamespace tnl {\n')
    print("// clang-format off")
    print("const std::uint32_t kUnicodeChanges[] = {")
    line = ""
    for value in changes:
        item = f"{value:#x},"
        if len(line) + len(item) > 98:
            print(" " + line)
            line = ""
        line += item
    print(" " + line + "\n};\n// clang-format on")
    print(f"const std::size_t kUnicodeChangeCount = {len(changes)};\n\n}}  // namespace tnl")


main()
