"""Modules that the collection of doctests cannot import: their libraries are those of another Python."""

collect_ignore = [
    "shoal/runtimes/armnn_process.py",
    "shoal/runtimes/executorch_runtime.py",
    "tests/make_pte.py",
]
