"""``pointseg check`` from a checkout: see pointseg/check.py."""

from pointseg.check import main
from pointseg.commands import run_command

if __name__ == "__main__":
    run_command(main)
