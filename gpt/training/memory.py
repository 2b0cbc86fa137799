"""How much memory there is, and how much this process has taken: from the system, no package."""
import ctypes
import os
import sys
from pathlib import Path


def available_bytes():
    """Return how much memory can be taken without swapping, or None where the system tells not.

    On Linux containers' limits count, too; on macOS it is what is installed.
    """
    if sys.platform == "win32":
        return windows_memory()
    free = None
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except OSError:
        try:
            free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            return None
    limits = [left for left in map(cgroup_left, CGROUPS) if left is not None]
    return min([free, *limits]) if free is not None else min(limits, default=None)


CGROUPS = [("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
           ("/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes")]


def cgroup_left(files):
    """Return what a container's limit leaves; files that were only read count as free."""
    try:
        limit, used = (Path(file).read_text().strip() for file in files)
        cached = 0
        for line in (Path(files[0]).parent / "memory.stat").read_text().splitlines():
            if line.split()[0] in ("inactive_file", "active_file"):
                cached += int(line.split()[1])
        return None if limit == "max" else int(limit) - int(used) + cached
    except (OSError, ValueError):
        return None


def windows_memory():
    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong),
                    *((name, ctypes.c_ulonglong) for name in
                      ("total", "free", "page", "page_free", "virtual", "virtual_free", "extra"))]
    status = Status()
    status.length = ctypes.sizeof(status)
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.free


def used_bytes():
    """Return the memory this process holds now, or its highest where only that is known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_bytes()


def peak_bytes():
    """Return the most memory this process has held so far; 0 where the system tells not."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
