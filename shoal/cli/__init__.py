"""The `shoal` command, one file per noun; `up` and `demo` only start processes. Speaks through `shoal.client`."""
