"""One training in several processes, as `accelerate launch` starts them."""

import sys
from typing import Any


def is_main() -> bool:
    """Whether this process is the only one, or the one that writes and speaks."""
    return rank() == 0


def rank() -> int:
    """Number of this process, from 0. Of processes only a training knows, so before it there is one: torch isn't loaded for this."""
    distributed: Any = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return 0
    return int(distributed.get_rank())


def join() -> int:
    """Meet the other processes of the launch; how many there are, this one included."""
    import torch
    from accelerate import PartialState

    return int(PartialState(cpu=not torch.cuda.is_available()).num_processes)


def wait() -> None:
    """Until every process is here."""
    from accelerate import PartialState

    PartialState().wait_for_everyone()


def same(value: Any) -> Any:
    """What the main process has, in every process."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value], from_process=0)[0]
