"""Compression: a version becomes variants that fit the fleet, each measured and proven before it is a row.

`service` and its neighbours here speak with rows, in the API and the scheduler; `choosing` decides, and is pure;
`workers` has what Ray's workers run. `networks`, `graphs`, `techniques` and `export` run inside the sandbox alone, as
they are fed what an uploaded program made.
"""
