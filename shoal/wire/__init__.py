"""The contract between controller and agents: topics, envelope, signatures, and one file of messages per noun.

Imports the standard library, msgspec and cryptography only (numpy in `tensors.py` alone), so that an idle agent stays
small. Invariants: a body is decoded only after its signature was verified; unknown fields are ignored; an unknown
`kind` or major version is refused; every message has a size limit.
"""
