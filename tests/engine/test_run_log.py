"""The progress bar calls the losses as ``metrics.jsonl`` does."""

import json
from pathlib import Path

from pointseg.engine.run_directory import RunDirectory
from pointseg.engine.run_log import RunLog


def test_the_bar_and_the_log_use_the_same_names(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    log = RunLog(directory, num_steps=10, first_step=0, enabled=True)
    log.log_training(1, {"loss": 1.15, "recognition": 1.0, "collapse": 0.3, "lr": 0.01, "scenes_per_s": 2.0})
    shown = log._bar.postfix
    log.close()
    assert shown.startswith("loss 1.150 = recognition 1.000 + λ · collapse 0.300, lr ")
    (line,) = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert {"loss", "recognition", "collapse"} <= json.loads(line).keys()
