import subprocess
import sys

import pytest

from nanolit.runtime import dist

NAMES = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK",
    "SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_NAME",
)  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "rank", "world_size"),
    [
        ({}, 0, 1),
        ({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}, 3, 4),  # torchrun
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, 1, 2),  # a child of Lightning
        ({"LOCAL_RANK": "1", "NODE_RANK": "1", "WORLD_SIZE": "4"}, 3, 4),  # on its second node
        ({"LOCAL_RANK": "0", "NODE_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, 4, 8),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "8", "SLURM_JOB_NAME": "train"}, 2, 8),  # srun
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_NAME": "bash"}, 0, 1),  # a shell in an allocation
        ({"SLURM_NTASKS": "8"}, 0, 1),
    ],
)
def test_rank_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], rank: int, world_size: int
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (dist.rank(), dist.world_size(), dist.is_main()) == (rank, world_size, rank == 0)


def test_a_process_group_is_the_authority(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    import torch.distributed as group

    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "6")
    group.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        assert (dist.rank(), dist.world_size(), dist.is_main()) == (0, 1, True)
    finally:
        group.destroy_process_group()


def test_runtime_imports_no_torch_and_nothing_of_ours() -> None:
    code = (
        "import sys; from nanolit.runtime import devices, dist, download, files, log, seeds, typed; "
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('nanolit.')}; "
        "assert 'torch' not in sys.modules and rooms == {'runtime'}, rooms"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
