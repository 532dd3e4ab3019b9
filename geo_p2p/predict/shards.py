"""Several processes share out the blocks of one run: which of them is this one."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from geo_p2p.errors import GridError

__all__ = ["Shard"]

Item = TypeVar("Item")

ARRAYS = {
    "AWS_BATCH_JOB_ARRAY_INDEX": "AWS_BATCH_JOB_ARRAY_SIZE",
    "JOB_COMPLETION_INDEX": "",
}
"""Where arrays of jobs say which one this is, from 0, and of how many; Kubernetes does not."""


@dataclass(frozen=True)
class Shard:
    """One of several processes that do the blocks of a plan, each its own.

    Every ``count``-th block is its own: neighbours are alike, so that each gets its share of
    sea and of land. Who does a block has no influence on it.

    Parameters
    ----------
    number : which one, from 1.
    count : of how many.

    Raises
    ------
    GridError
        If there is no such one.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not 1 <= self.number <= self.count:
            raise GridError(f"shard {self}: shards are counted from 1/{self.count} on")

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str] = os.environ) -> "Shard":
        """Read ``i/n``, ``auto`` or ``auto/n``.

        "auto" asks the launcher: torchrun (RANK, WORLD_SIZE), Slurm (tasks of srun, of an array,
        or of both), AWS Batch (AWS_BATCH_JOB_ARRAY_INDEX and _SIZE), Kubernetes
        (JOB_COMPLETION_INDEX, which needs "auto/n": it does not tell of how many). A plain run
        asks nobody: in the shell of an allocation it would do the first part and say it was done.

        Raises
        ------
        GridError
            For another text, or if no launcher has said it.

        Examples
        --------
        >>> Shard.parse("2/8")
        Shard(number=2, count=8)
        >>> Shard.parse("auto", {"RANK": "0", "WORLD_SIZE": "4"})
        Shard(number=1, count=4)
        """
        found = re.fullmatch(r"(auto|\d+)(?:/(\d+))?", text.strip())
        if found is None or (found[1] != "auto" and found[2] is None):
            raise GridError(f"shard {text!r}: give i/n, counted from 1, such as 2/8, or auto")
        asked = int(found[2]) if found[2] else None
        if found[1] != "auto":
            return cls(int(found[1]), asked or 0)
        index, count = _told(environ)
        if asked is not None and count not in (None, asked):
            raise GridError(f"shard {text!r}: the launcher has started {count}, not {asked}")
        count = count or asked
        if count is None:
            raise GridError(
                f"shard {text!r}: the launcher says that this is process {index}, counted from 0, "
                "but not of how many; give auto/n"
            )
        return cls(index + 1, count)

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """What falls to this process of what falls to all of them."""
        return items[self.number - 1 :: self.count]

    def __str__(self) -> str:
        """Return it as it is given."""
        return f"{self.number}/{self.count}"


def _told(environ: Mapping[str, str]) -> tuple[int, int | None]:
    """Which process this is, from 0, and of how many, as a launcher has told.

    torchrun comes first: where Slurm has started it, it is the inner one.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        return _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
    if "SLURM_ARRAY_TASK_ID" in environ or "SLURM_PROCID" in environ:
        return _slurm(environ)
    for index, count in ARRAYS.items():
        if index in environ:
            told = _number(environ, count) if count in environ else None
            return _number(environ, index), told
    raise GridError(
        "shard auto: neither torchrun, Slurm, AWS Batch nor Kubernetes has said which process "
        "this is; give i/n"
    )


def _slurm(environ: Mapping[str, str]) -> tuple[int, int]:
    """Number and count of a task: of a step, of an array, or of the steps of an array."""
    index, count = 0, 1
    if "SLURM_ARRAY_TASK_ID" in environ:
        first, step = (
            _number(environ, f"SLURM_ARRAY_TASK_{name}", default)
            for name, default in (("MIN", 0), ("STEP", 1))
        )
        index, apart = divmod(_number(environ, "SLURM_ARRAY_TASK_ID") - first, step)
        count = _number(environ, "SLURM_ARRAY_TASK_COUNT")
        if apart or index >= count:
            raise GridError(
                f"shard auto: the numbers of this Slurm array leave gaps ({count} from {first} on,"
                f" and this is {first + index * step + apart}); give i/n, or an array without gaps"
            )
    tasks = _number(environ, "SLURM_NTASKS", 1)
    return index * tasks + _number(environ, "SLURM_PROCID", 0), count * tasks


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Return a variable's number."""
    text = environ.get(name, "" if default is None else str(default))
    if not re.fullmatch(r"\d+", text):
        raise GridError(f"shard auto: {name} is {text!r}, no number; give i/n")
    return int(text)
