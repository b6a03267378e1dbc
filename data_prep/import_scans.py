"""``pointseg import`` from a checkout: see pointseg/import_scans.py."""

from pointseg.commands import run_command
from pointseg.import_scans import main

if __name__ == "__main__":
    run_command(main)
