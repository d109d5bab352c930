"""Compression: a version becomes variants that fit the fleet, each measured and proven before it is a row.

`service` and `recipe` run in the API and the scheduler; `pipeline` and `evaluate` on Ray's workers; `opener`,
`quantize` and `export` inside the sandbox alone, as they are fed what an uploaded program made.
"""
