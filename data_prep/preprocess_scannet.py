"""``pointseg prepare`` from a checkout: see pointseg/prepare.py."""

from pointseg.commands import run_command
from pointseg.prepare import main

if __name__ == "__main__":
    run_command(main)
