"""How the C library handles the large blocks of tensors on a CPU."""

from __future__ import annotations

import ctypes
import gc
import platform

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_blocks() -> bool:
    """Let glibc keep freed memory for the next batch. Returns whether it does (False: another C library).

    By default each large block is fetched from the system and given back, for every layer of every batch,
    and each of its pages is faulted in anew: half of the processor time of a forward pass of
    EfficientNet-Lite0 (docs/decisions/0004-memory.md). The process's memory stays at its peak instead.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_M_MMAP_MAX, 0) and library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error says: PyTorch has a kind for it on a GPU, and only words on a CPU,
    as OpenVINO has."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "bad_alloc")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def forget_freed_blocks() -> None:
    """Give what is free back to the device: a smaller batch wants blocks of another size."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
