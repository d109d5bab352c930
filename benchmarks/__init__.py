"""Measurements, one script a claim. Each prints one JSON line a case:
`{"benchmark", "case", "metric", "unit", "ours", "peer", "peer_name", "ratio", "aim", "met"}`.

`ratio` is how many times better Shoal is, `aim` the ratio or bound to reach. A case without a peer leaves the peer's
fields null. Never a timed test: absolute times of one machine prove nothing.
"""
