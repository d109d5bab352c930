"""Data sets of other formats, imported by a job: npz, Parquet, images. Each becomes one file of safetensors.

An uploaded file is opened in a sandbox and nowhere else; what comes out of there is checked like any upload. A format
is one file here, with two passes: what the tensors are, then their elements in order.
"""
