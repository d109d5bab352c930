"""NVIDIA's GPUs by the driver's own library, NVML, without a binding. Loaded in `probe` alone, a short child process.

Source: NVIDIA's NVML API reference: `nvmlInit_v2`, `nvmlDeviceGetCount_v2`, `nvmlDeviceGetHandleByIndex_v2`,
`nvmlDeviceGetName` and `nvmlDeviceGetMemoryInfo`.
"""

import ctypes
from typing import Final

from agent.hardware.files import printable
from shoal.wire.devices import Accelerator

_LIBRARY: Final = "libnvidia-ml.so.1"
_NAME_BYTES: Final = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
_MOST: Final = 32


class _Memory(ctypes.Structure):
    """`nvmlMemory_t`, bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpus() -> list[Accelerator]:
    """Give the GPUs; none where the library is not there or its driver does not run."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        if library.nvmlInit_v2():
            return []
    except (OSError, AttributeError):  # not there, or older than 2013
        return []
    try:
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return []
        found = [_gpu(library, index) for index in range(min(count.value, _MOST))]
        return [gpu for gpu in found if gpu is not None]
    finally:
        library.nvmlShutdown()


def _gpu(library: ctypes.CDLL, index: int) -> Accelerator | None:
    handle = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)):
        return None
    name = ctypes.create_string_buffer(_NAME_BYTES)
    if library.nvmlDeviceGetName(handle, name, ctypes.c_uint(_NAME_BYTES)):
        return None
    memory = _Memory()
    # One that shares the machine's memory (Jetson, GB10) answers "not supported".
    has_memory = library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0 and memory.total > 0
    return Accelerator(
        kind="gpu",
        vendor="nvidia",
        name=printable(name.value.decode(errors="replace")) or "NVIDIA GPU",
        found_by="nvml",
        memory_bytes=memory.total if has_memory else None,
    )
