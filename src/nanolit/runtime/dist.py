"""Which process of a distributed run this is, as far as the environment tells; it starts nothing and imports nothing.

Usable before torch is imported (logging, "only the first process writes"). Once a process group exists, it is the
authority.
"""

import os
import sys
from typing import Any


def _process_group() -> Any | None:
    """torch.distributed if it is loaded and initialised, otherwise None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def _from_environment(*names: str) -> int | None:
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()), None)


def started_by_srun() -> bool:
    """Whether srun started this process: a shell inside an allocation has SLURM_NTASKS too, but is one process."""
    return "SLURM_PROCID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def world_size() -> int:
    """Number of processes of the run."""
    if group := _process_group():
        return group.get_world_size()
    return _from_environment("WORLD_SIZE", *(["SLURM_NTASKS"] if started_by_srun() else [])) or 1


def rank() -> int:
    """This process's number in 0..world_size() - 1."""
    if group := _process_group():
        return group.get_rank()
    found = _from_environment("RANK", *(["SLURM_PROCID"] if started_by_srun() else []))
    if found is not None:
        return found
    # Lightning starts its children with NODE_RANK and LOCAL_RANK, without RANK.
    node_rank, local_rank = _from_environment("NODE_RANK", "GROUP_RANK") or 0, _from_environment("LOCAL_RANK") or 0
    per_node = _from_environment("LOCAL_WORLD_SIZE") or (world_size() + node_rank) // (node_rank + 1)
    return node_rank * per_node + local_rank


def is_main() -> bool:
    """Whether this is the process that writes files and talks to the user."""
    return rank() == 0
