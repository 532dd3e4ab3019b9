"""What two recipes of a prediction, which decide the bytes of its blocks, differ in."""

from collections.abc import Mapping
from typing import Any

__all__ = ["differences"]

WORDS = {
    "source": "the raster",
    "bands": "its bands",
    "lattice": "where its pixels lie",
    "window": "the bounds",
    "model": "the model or its precision",
    "output": "the type or scale of the output",
}
"""What the parts of a recipe are called."""

PLANNED = {"size": "block size", "height": "rows", "width": "columns"}
"""What the parts of its plan are called; the others as they are."""


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what two recipes differ in, for people."""
    if not earlier:
        return "its plan cannot be read"
    said = []
    for key in dict.fromkeys([*WORDS, *earlier, *now]):
        before, after = earlier.get(key), now.get(key)
        if key == "plan" and isinstance(before, dict) and isinstance(after, dict):
            said += [
                f"{PLANNED.get(name, name)} {before.get(name)}, now {after.get(name)}"
                for name in after
                if before.get(name) != after.get(name)
            ]
        elif before != after:
            said.append(WORDS.get(key, key.replace("_", " ")))
    return "it differs in " + ", ".join(said)
