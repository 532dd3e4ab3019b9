"""Compare a wheel, installed here, with the checkout that it was built from.

Run outside the checkout: ``python check_wheel.py WHEEL CHECKOUT``.
"""

import sys
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from zipfile import ZipFile


def expected(checkout: Path) -> set[str]:
    """Return the files that the wheel must hold, beside its metadata."""
    library = {path.relative_to(checkout) for path in (checkout / "geo_p2p").rglob("*.py")}
    cli = {path.relative_to(checkout) for path in (checkout / "cli").rglob("*.py")}
    mapped = {"geo_p2p" / path for path in cli}
    return {path.as_posix() for path in library | mapped} | {"geo_p2p/py.typed"}


def main(wheel: str, checkout: str) -> None:
    """Exit with what is wrong, if anything is."""
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tops = {PurePosixPath(name).parts[0] for name in held}
    if tops != {"geo_p2p"}:
        sys.exit(f"top-level names in the wheel: {sorted(tops)}, not geo_p2p alone")
    if different := held ^ expected(Path(checkout)):
        sys.exit(f"in the wheel or in the checkout, not in both: {sorted(different)}")
    for name in ("cli", "tests", "examples", "benchmarks"):
        if find_spec(name) is not None:
            sys.exit(f"`import {name}` works outside the checkout")
    import geo_p2p

    if Path(checkout).resolve() in Path(geo_p2p.__file__).resolve().parents:
        sys.exit("geo_p2p was imported from the checkout, not from the wheel")
    sys.stdout.write(f"{len(held)} files, all under geo_p2p {geo_p2p.__version__}\n")


main(*sys.argv[1:])
