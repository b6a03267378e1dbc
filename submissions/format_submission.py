"""``pointseg submit`` from a checkout: see pointseg/submit.py."""

from pointseg.commands import run_command
from pointseg.submit import main

if __name__ == "__main__":
    run_command(main)
