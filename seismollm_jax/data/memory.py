"""Memory of processes that make batches."""

import ctypes
import sys

KEPT_BYTES = 256 * 2**20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # that glibc allows


def keep_freed_memory() -> None:
    """Let this process keep what it frees, up to `KEPT_BYTES`, for its next arrays.

    A batch takes hundreds of arrays and frees them together. By itself glibc gives that memory back
    to the system and asks for it anew, page by page, which takes up to a third of the time of
    a sample. Systems with another C library are left as they are.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
