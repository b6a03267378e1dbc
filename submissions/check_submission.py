"""``pointseg check-submission`` from a checkout: see pointseg/check_submission.py."""

from pointseg.check_submission import main
from pointseg.commands import run_command

if __name__ == "__main__":
    run_command(main)
