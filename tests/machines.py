"""Writes the files by which a kernel tells what a machine is, below a temporary root folder."""

from pathlib import Path


def write(root: Path, files: dict[str, str]) -> None:
    """Write files; a value of sysfs ends with a newline, one of the device tree with a NUL."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def tree(root: Path, model: str, *compatible: str) -> None:
    """Write a board's root node, as the kernel shows it."""
    write(
        root,
        {
            "proc/device-tree/model": f"{model}\0",
            "proc/device-tree/compatible": "".join(f"{one}\0" for one in compatible),
        },
    )


def driver(root: Path, device: str, name: str) -> None:
    """Bind a device to a driver."""
    (root / device).mkdir(parents=True, exist_ok=True)
    (root / device / "driver").symlink_to(f"../../../../bus/platform/drivers/{name}")
