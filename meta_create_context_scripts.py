"""Writes one script for each context of a feature: the front door to ``metapbt scripts``.

Example:
    python meta_create_context_scripts.py env=lunar_lander scripts.feature=leg_height
"""

import sys

from metapbt.cli import main

if __name__ == "__main__":
    sys.exit(main(["scripts", *sys.argv[1:]]))
