"""``python -m tests.siege [--short] [--seed S] [--only ASSAULT[/WHAT[/TRIAL]]] [--json FILE] [--folder DIR]``."""

import os

# Before NumPy and PyTorch are loaded; one thread, so that this process can be forked.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse  # noqa: E402
import gc  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from pointseg.commands import COMMANDS  # noqa: E402
from tests.siege import disks, hostile, kills, locks, other_files, ranks, raw_scans  # noqa: E402
from tests.siege.scenery import Scenery  # noqa: E402
from tests.siege.trial import VERDICTS, Siege  # noqa: E402

ASSAULTS = (raw_scans, other_files, hostile, kills, disks, locks, ranks)


def main() -> int:
    """Attack; print what was tried how often and what failed; 1 if anything failed."""
    arguments = build_parser().parse_args()
    if arguments.folder is not None:
        Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="siege-", dir=arguments.folder))
    _import_everything()
    siege = Siege(arguments.seed, arguments.short, folder, arguments.only)
    scenery = Scenery(folder / "scenery")
    is_whole = _attack(siege, scenery)
    print(format_table(siege))
    for failure in siege.failures:
        print(f"\nFAILED {failure['trial']}: {failure['reason']}\n  done to it: {failure['attack']}")
        print(f"  kept: {failure['kept']}")
        print(f"  again: python -m tests.siege --seed {siege.seed} --only '{failure['trial']}'")
    if arguments.json:
        arguments.json.write_text(json.dumps(encode(siege), indent=1) + "\n", encoding="utf-8")
    if not siege.rows:
        print(f"no trial is named {arguments.only}", file=sys.stderr)
        return 2
    if not siege.failures:
        shutil.rmtree(folder)
    return 1 if siege.failures or not is_whole else 0


def _attack(siege: Siege, scenery: Scenery) -> bool:
    """Make all trials; False: somebody stopped it."""
    began = time.monotonic()
    try:
        for assault in ASSAULTS:
            if siege.wants(assault.NAME):
                assault.attack(siege, scenery)
                print(f"{time.monotonic() - began:6.0f} s  {assault.NAME} done", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; this is what was tried until then", file=sys.stderr)
        return False
    return True


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m tests.siege", description="Attack pointseg, and say how it held.")
    parser.add_argument("--short", action="store_true", help="a few trials of each kind, as in the tests")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other attacks (default: 0)")
    parser.add_argument("--only", default="", metavar="NAME", help="an assault, or a part or a single trial of it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table and the failures")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where to work (default: the system's for temporary files)"
    )
    return parser


def format_table(siege: Siege) -> str:
    """A line for each kind of trial, and their sum."""
    header = (
        f"{'assault':<12} {'what':<20} {'tried':>6} " + " ".join(f"{name:>9}" for name in VERDICTS) + f" {'seconds':>8}"
    )
    lines = [header, "-" * len(header)]
    total = dict.fromkeys(VERDICTS, 0)
    for (assault, what), row in siege.rows.items():
        lines.append(_format_line(assault, what, row.counts, row.seconds))
        lines += [f"{'':<12} skipped: {reason}" for reason in row.reasons]
        total = {name: total[name] + row.counts[name] for name in VERDICTS}
    return "\n".join([*lines, _format_line("all", "", total, sum(row.seconds for row in siege.rows.values()))])


def encode(siege: Siege) -> dict[str, object]:
    """The table and the failures, for programs."""
    rows = [
        {"assault": assault, "what": what, "tried": sum(row.counts.values()), **row.counts, "seconds": row.seconds}
        for (assault, what), row in siege.rows.items()
    ]
    return {"seed": siege.seed, "short": siege.short, "rows": rows, "failures": siege.failures}


def _format_line(assault: str, what: str, counts: dict[str, int], seconds: float) -> str:
    numbers = " ".join(f"{counts[name]:>9,}" for name in VERDICTS)
    return f"{assault:<12} {what:<20} {sum(counts.values()):>6,} {numbers} {seconds:>8.1f}"


def _import_everything() -> None:
    """What commands import when they need it, once, so that each of their processes finds it here."""
    for command in COMMANDS.values():
        importlib.import_module(f"pointseg.{command.module}")
    for module in ("torch._dynamo", "pointseg.engine.validation", "pointseg.engine.resuming"):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a forked process would copy all that is here


if __name__ == "__main__":
    sys.exit(main())
