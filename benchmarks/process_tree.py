"""CPU time and memory of this process and its descendants, from Linux's /proc."""

import os
import time
from pathlib import Path

PROC = Path("/proc")
KINDS = ("Pss_Anon:", "Pss_Shmem:")


def available() -> bool:
    """Whether this system tells."""
    rollup = PROC / "self" / "smaps_rollup"
    return rollup.exists() and KINDS[0] in rollup.read_text()


def cpu_s() -> float:
    """CPU seconds, user and system, of all of them that are running; 0.01 exact for descendants."""
    tree = _tree()
    del tree[os.getpid()]
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in tree.values())
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def memory_mb() -> float:
    """Resident memory of all of them; pages that several share count once.

    Without mapped files, such as libraries, which count less when others start to use them too.
    """
    total_kb = 0
    for pid in _tree():
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total_kb += sum(int(line.split()[1]) for line in lines if line.startswith(KINDS))
    return total_kb / 1024


def _tree() -> dict[int, list[str]]:
    """Process number -> fields of its stat file from the third on."""
    found = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except OSError:
                continue
            found[int(folder.name)] = text.rpartition(")")[2].split()  # a name may have blanks
    tree, before = {os.getpid()}, 0
    while len(tree) > before:
        before = len(tree)
        tree |= {pid for pid, fields in found.items() if int(fields[1]) in tree}
    return {pid: found[pid] for pid in tree}
