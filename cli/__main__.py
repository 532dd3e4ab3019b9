"""``python -m geo_p2p.cli``: the command without its script."""

from .main import main

main(prog_name="geo-p2p")
