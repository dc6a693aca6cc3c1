"""Memory of the C library, as far as it decides on the speed of working on images."""

from __future__ import annotations

import numpy as np

_BLOCK = 31 << 20  # bytes; glibc learns from blocks of up to 32 MiB


def keep_freed_memory() -> None:
    """Have the C library keep large blocks that are freed, for the next that are asked for.

    An image decoded is a megabyte. glibc gives such a block back to the system when it is freed and asks for another
    the next time, and touching that for the first time costs more than decoding the image into it. But when it frees
    a larger block than it ever did, it takes this for the program's habit and keeps twice as much (mallopt(3),
    M_MMAP_THRESHOLD). The block asked for here is never touched, so it takes no memory. Other C libraries do not mind.
    """
    np.empty(_BLOCK, np.uint8)
