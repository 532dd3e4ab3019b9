"""The command line, installed as ``geo_p2p.cli``: one command a module, one library call each."""
