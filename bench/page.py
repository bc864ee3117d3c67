"""What the scripts that write docs/benchmarks/ share."""


def kept_notes(path, heading):
    """The page from the line `heading` on, which is written by hand; "" where there is none."""
    lines = path.read_text().splitlines(keepends=True) if path and path.exists() else []
    at = next((i for i, line in enumerate(lines) if line.startswith(heading)), len(lines))
    return "".join(lines[at:])


def short_name(device):
    """"H200" of "NVIDIA H200", "H100" of "NVIDIA H100 80GB HBM3"."""
    return device.removeprefix("NVIDIA ").split()[0]
