"""``pointseg demo-scans`` from a checkout: see pointseg/demo_scans.py."""

from pointseg.commands import run_command
from pointseg.demo_scans import main

if __name__ == "__main__":
    run_command(main)
