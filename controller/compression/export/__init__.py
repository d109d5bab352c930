"""Converters, one file per format; each is the only importer of its library. They run inside the sandbox."""
