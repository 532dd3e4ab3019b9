"""Where decoded chips are kept: the same chips, whether they fit into memory or not."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pairs import TINY, blobs, chip, inverted, scalings

from geo_p2p.chips import Chip
from geo_p2p.data import DataBunch, Origin, shelf
from geo_p2p.data.shelf import Shelf
from geo_p2p.errors import ChipError
from geo_p2p.pix2pix import Pix2Pix

FITS, TOO_MANY = 1_000_000, 100


def mapped(array: NDArray[np.generic] | None) -> bool:
    """Whether an array lies in a mapped file."""
    while array is not None and not isinstance(array, np.memmap):
        array = array.base  # type: ignore[assignment]
    return array is not None


def pairs() -> Iterator[Chip]:
    for place in range(5):
        x = blobs(3, 16, 24, place).astype("uint16")
        valid = np.ones((16, 24), bool)
        valid[place] = False
        yield chip(x, x[:1].astype("float32") / 7, valid, place)


@pytest.mark.parametrize(("memory", "file"), [(FITS, False), (TOO_MANY, True)])
def test_chips_are_what_they_were_wherever_they_lie(memory: int, file: bool) -> None:
    shelf = Shelf(5, memory)
    kept = [shelf.keep(pair) for pair in pairs()]
    for one, other in zip(kept, pairs(), strict=True):
        for array, expected in ((one.x, other.x), (one.y, other.y), (one.valid, other.valid)):
            assert array.dtype == expected.dtype
            assert np.array_equal(array, expected)
            assert mapped(array) is file
        assert (one.name, one.frame) == (other.name, other.frame)


def test_the_file_has_no_name_and_lies_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shelf = Shelf(5, TOO_MANY)
    kept = [shelf.keep(pair) for pair in pairs()]
    assert mapped(kept[0].x)
    assert list(tmp_path.iterdir()) == []


def test_processes_on_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one process has room for, several that keep the same chips have not."""
    size = sum(array.nbytes for pair in pairs() for array in (pair.x, pair.y, pair.valid))
    monkeypatch.setattr(shelf, "machine_memory", lambda: 3 * size / shelf.MEMORY_SHARE)
    for count, file in ((1, False), (3, False), (4, True)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(count))
        assert mapped(Shelf(5).keep(next(pairs())).x) is file


def test_larger_chips_than_the_first_stay_in_memory() -> None:
    small = next(pairs())
    large = chip(blobs(3, 160, 160), blobs(1, 160, 160))
    shelf = Shelf(2, TOO_MANY)
    assert mapped(shelf.keep(small).x)
    assert not mapped(shelf.keep(large).x)


def test_a_full_disk_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(ChipError, match=r"no room for 0\.0 GB .* set TMPDIR") as caught:
        Shelf(5, TOO_MANY).keep(next(pairs()))
    assert "\n" not in str(caught.value)


def test_a_model_trains_on_mapped_chips_as_on_others() -> None:
    def trained(memory: int) -> list[dict[str, float]]:
        shelf = Shelf(4, memory)
        chips = [shelf.keep(pair) for pair in inverted(4)]
        model = Pix2Pix(DataBunch(chips, [], scalings(chips), Origin(Path())), **TINY)
        model.fit(1, checkpoint=False, progress=False)
        return [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in model.history]

    assert trained(TOO_MANY) == trained(FITS)
