"""What memory there is: asked before much of it is taken.

A file of a few hundred bytes can ask for blobs of gigabytes, and one of terabytes may be a single hole. Operating
systems grant such memory and then end the process that uses it; this module lets an error say so before.
"""

from __future__ import annotations

import os
from pathlib import Path

from prototxt.errors import UserError

_GROUPS = (  # limit and use of the control group that a container runs in: versions 2 and 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_bytes() -> int | None:
    """What this process can still take, swap included; None where the system does not say."""
    found = [size for size in (_system(), *map(_group, _GROUPS), _limit()) if size is not None]
    return min(found, default=None)


def require_memory(needed: int, what: str, *, where: str = "", fix: str = "") -> None:
    """Raise UserError when `needed` bytes for `what` are more than there are."""
    there = available_bytes()
    if there is not None and needed > there:
        found = f"{what} would take {size_text(needed)} of memory, and {size_text(there)} are free"
        raise UserError(found, where=where, fix=fix)


def size_text(size: int) -> str:
    """Bytes for people: `1.5 GB`."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


def _system() -> int | None:
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return 1024 * sum(int(fields[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _group(files: tuple[str, str]) -> int | None:
    try:
        limit, used = (Path(name).read_text().strip() for name in files)
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # not in a group, or "max"
        return None


def _limit() -> int | None:
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return None if limit == resource.RLIM_INFINITY else max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))
    except (ImportError, OSError, ValueError):
        return None
