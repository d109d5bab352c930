"""Learning from a signed program: what the device's training process and the cloud both use.

May import numpy, safetensors, torch and `shoal.wire`; `drift` and `replay` import numpy alone, since the serving
process uses `drift` and must not load torch. Invariants: the same seed, data and weights give the same result; nothing
here opens a socket or writes a file that it was not given.
"""
