"""The command `tnl` of the Python package: `tnl convert` here, all else the C++ command."""

import os
import sys
from pathlib import Path


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["convert"]:
        try:
            from tnl import convert
        except ImportError as error:
            print(f"tnl convert needs PyTorch: {error}", file=sys.stderr)
            return 1
        return convert.main(arguments[1:])
    command = Path(__file__).parent / "bin" / "tnl"
    os.execv(command, [str(command), *arguments])


if __name__ == "__main__":
    sys.exit(main())
