"""A preparation in several shards, one for each job of a cluster: who does which scenes, and what each leaves behind.

Every shard writes its part, ``ROOT/preprocess_report.shard-<i>-of-<n>.json``: the scenes that it could not prepare, and
from which state of the raw files. All else that the report tells is in the prepared scenes themselves. So any shard can
make the whole report, in any order, and a part that is out of date does no harm: what it says holds for other files.
"""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointseg.atomic import write_text
from pointseg.errors import UsageError, regular_file
from pointseg.preparation.jobs import Failure, SceneJob, SceneKey
from pointseg.preparation.prepared_source import read_source
from pointseg.scans.tree import SPLITS


@dataclass(frozen=True)
class Shard:
    """Shard ``number`` of ``count``, 1 <= number <= count."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str) -> Shard:
    """``i/n`` as a :class:`Shard`.

    Raises:
        UsageError: it is not two whole numbers, or not 1 <= i <= n.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not match:
        raise UsageError(f"--shard {text}: is not i/n; give two whole numbers, such as 1/8")
    shard = Shard(int(match[1]), int(match[2]))
    if not 1 <= shard.number <= shard.count:
        raise UsageError(f"--shard {text}: there is no such shard; i goes from 1 to n, as in 1/8")
    return shard


def assign_scenes(lists: Mapping[str, Sequence[str]], count: int) -> dict[SceneKey, int]:
    """The number of the shard, 1..count, that prepares each scene of the lists: dealt out in turn.

    The numbers of scenes differ by at most one, in each split too, and scans of the same room, which follow each other
    in the lists, go to different shards. Which raw scans are there plays no part: a download that goes on meanwhile
    moves no scene to another shard.
    """
    scenes = [(split, scene) for split in SPLITS for scene in lists[split]]
    return {key: position % count + 1 for position, key in enumerate(scenes)}


def part_path(root: Path, shard: Shard) -> Path:
    """Where a shard writes its part of the report."""
    return root / f"preprocess_report.shard-{shard.number}-of-{shard.count}.json"


def write_part(root: Path, shard: Shard, failures: Mapping[SceneKey, Failure], has_written: bool) -> None:
    """Write a shard's part; one that would say the same stays, unless the shard ``has_written`` a scene.

    After that the part always differs from before, by a random token: so another shard that is just making the
    report sees that it looked at the tree too early.

    Raises:
        OSError: it can't be written.
    """
    path = part_path(root, shard)
    rows = [
        {"split": split, "scene": scene, "reason": failure.reason, "made_from": failure.made_from}
        for (split, scene), failure in sorted(failures.items())
    ]
    if has_written or _decode_part(_read(path)) != dict(failures):
        part = {"shard": str(shard), "token": uuid.uuid4().hex, "failed": rows}
        write_text(path, json.dumps(part, indent=1) + "\n")


def read_parts(root: Path, count: int) -> dict[str, str]:
    """Name -> text of the parts that shards of ``count`` have left; those of another number of shards don't count."""
    paths = (part_path(root, Shard(number, count)) for number in range(1, count + 1))
    return {path.name: text for path in paths if (text := _read(path)) is not None}


def failures_of_parts(parts: Mapping[str, str]) -> dict[SceneKey, Failure]:
    """All failures that the parts tell of. A part that can't be read tells of none: its shard counts as not done."""
    return {key: failure for text in parts.values() for key, failure in (_decode_part(text) or {}).items()}


def remove_parts(root: Path, keep_count: int | None = None) -> None:
    """Delete the parts of all numbers of shards but ``keep_count``."""
    for path in root.glob("preprocess_report.shard-*-of-*.json"):
        match = re.fullmatch(r"preprocess_report\.shard-[0-9]+-of-([0-9]+)\.json", path.name)
        if match and match[1] != str(keep_count):
            path.unlink(missing_ok=True)


def find_open_scenes(
    jobs: Sequence[SceneJob], known_failures: Mapping[SceneKey, Failure]
) -> tuple[dict[SceneKey, Failure], list[SceneKey]]:
    """Of all scenes, those that failed, and those that nobody has prepared yet from the raw files as they are now.

    A known failure counts only if the scene is not done and the raw files are still those that it holds for.
    """
    failures: dict[SceneKey, Failure] = {}
    pending: list[SceneKey] = []
    for job in jobs:
        made_from: dict[str, Any] | None
        try:
            made_from = job.describe_source()
        except OSError:
            made_from = None
        source, known = read_source(job.out), known_failures.get(job.key)
        if source is not None and source["made_from"] == made_from:
            continue
        if known is not None and known.made_from == made_from:
            failures[job.key] = known
        else:
            pending.append(job.key)
    return failures, pending


def _read(path: Path) -> str | None:
    try:
        return regular_file(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _decode_part(text: str | None) -> dict[SceneKey, Failure] | None:
    try:
        rows = json.loads(text or "")["failed"]
        return {(row["split"], row["scene"]): Failure(row["reason"], row["made_from"]) for row in rows}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
