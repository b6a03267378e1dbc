"""``python -m pointseg.predict --run RUN (--split test | --input SCAN ...) --out DIR [--ply]``."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pointseg.atomic import remove_unfinished
from pointseg.command_line import CommandParser
from pointseg.commands import format_complaint, run_command
from pointseg.engine.inference import Segmenter, Wanted
from pointseg.engine.inference.prediction import infer_scan
from pointseg.errors import PointsegError, UsageError
from pointseg.folder_lock import hold_folder
from pointseg.formats.scan_file import check_is_readable_file
from pointseg.metrics.class_shares import count_ids, format_shares
from pointseg.output.prediction_files import ArrayFiles, write_predicted_mesh
from pointseg.output.prediction_input import hash_input
from pointseg.output.prediction_record import SUFFIXES, PredictionRecord, fingerprint
from pointseg.output.submission import read_prediction, write_prediction
from pointseg.processes import Processes, join_processes
from pointseg.run_arguments import add_run_arguments, choose_root, load_run, warn_of_absent_scenes
from pointseg.scan_arguments import add_scan_arguments, scan_options
from pointseg.scans.own_scan import ScanOptions
from pointseg.scans.predicted_files import written_files
from pointseg.scans.prepared import list_scenes
from pointseg.scans.scan_input import read_scan_input, scan_name
from pointseg.scans.scene_segments import check_segments

_ARRAYS = ("probabilities", "features")


def main(argv: Sequence[str]) -> int:
    """Predict the scenes of a split or any scans; a bad one is reported, the others are done.

    A scene that an earlier call finished with the same checkpoint and settings is not predicted again.
    """
    arguments = build_parser().parse_args(argv)
    segmenter = load_run(arguments)
    if arguments.split:
        root = choose_root(arguments.data_root, segmenter.config.data)
        paths = list_scenes(root, arguments.split)
        if segmenter.votes:
            check_segments(paths)
    else:
        paths = [Path(name) for name in arguments.input]
    _refuse_equal_names(paths)
    options = scan_options(arguments)
    given = {key: value for key, value in asdict(options).items() if value is not None}
    if given and arguments.split:
        raise UsageError("--unit, --up and --fill-color are for files given with --input; leave them out with --split")
    settings = segmenter.describe_settings(arguments.tta) | given
    if (out := Path(arguments.out)).exists() and not out.is_dir():
        raise UsageError(f"{out}: is no folder; give the folder for the predictions with --out")
    further = [key for key in SUFFIXES if getattr(arguments, key)]
    with join_processes(arguments.device) as processes, ExitStack() as held:
        # None writes before all have seen what earlier calls left.
        with processes.together():
            # Calls with the same settings may share the work: their files go together.
            share = fingerprint(settings)
            clear = partial(remove_unfinished, written_files(out, map(scan_name, paths)))
            remedy = "choose another folder with --out"
            held.enter_context(hold_folder(out, "predicts", remedy, share=share, first=clear))
            record = PredictionRecord(out, settings, segmenter.taxonomy)
            _refuse_to_overwrite(paths, record, further)
        if arguments.split and processes.is_first:
            warn_of_absent_scenes(root, arguments.split)
        return predict_scans(paths, _Work(segmenter, record, arguments.tta, further, options), processes)


def predict_scans(paths: Sequence[Path], work: "_Work", processes: Processes) -> int:
    """Do the work for all scans, which the processes share, and say what was done; 1 if a scan is bad."""
    hidden = len(paths) == 1 or not processes.is_first
    mine = paths[processes.rank :: processes.world_size]
    with processes.together():
        for path in tqdm(mine, desc="predict", unit="scene", disable=True if hidden else None):
            try:
                work.finish(path)
            except PointsegError as error:
                old = work.record.path(scan_name(path))
                stays = f"; {old} is of an earlier call" if old.is_file() else ""
                _say(f"{error}{stays}")
                work.times["failed"] += 1
    work.gather(processes)
    if processes.is_first:
        print(work.describe(len(paths)))
    return 1 if work.times["failed"] else 0


def build_parser() -> CommandParser:
    """Arguments of this command."""
    parser = CommandParser(
        "predict", description="One class id for each vertex: DIR/<scene>.txt. Under torchrun: on several processes."
    )
    add_run_arguments(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--split", metavar="NAME", help="a split (folder) of the run's prepared tree")
    source.add_argument("--input", nargs="+", action="extend", metavar="SCAN", help="scans: PLY, OBJ, GLB, LAS, ...")
    add_scan_arguments(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the predictions")
    parser.add_argument(
        "--ply",
        action="store_true",
        help="also write DIR/<scene>.ply in the classes' colours, with label and confidence of each vertex",
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="also write DIR/<scene>.probabilities.npy: (N, K) float16"
    )
    parser.add_argument(
        "--features", action="store_true", help="also write DIR/<scene>.features.npy: (N, D) float16, the last features"
    )
    return parser


class _Work:
    """One call: what is asked for, and what has been done.

    Args:
        segmenter: the network.
        record: of the folder.
        tta: of ``inference.TTA``.
        further: keys of ``SUFFIXES``: what to write beside the predictions.
        options: what the user says of the files.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        record: PredictionRecord,
        tta: str,
        further: Sequence[str],
        options: ScanOptions,
    ) -> None:
        self._segmenter = segmenter
        self.record = record
        self._tta = tta
        self.further = further
        self._options = options
        self._told: set[str] = set()
        self._points_of_id: Counter[int] = Counter()
        self._num_removed = 0
        self.times: Counter[str] = Counter()
        """How many scenes were ``reused``, ``predicted`` and ``failed``."""

    def finish(self, path: Path) -> None:
        """Make the files of a scene, unless they are there.

        Raises:
            PointsegError: the scene is bad.
            OSError: the disk is full or can't be written.
        """
        name = scan_name(path)
        if not path.is_dir():
            check_is_readable_file(path)
        input_sha256 = hash_input(path, with_segments=self._segmenter.votes)
        if self.record.is_finished(name, input_sha256, self.further):
            self._points_of_id += count_ids(read_prediction(self.record.path(name)))
            self.times["reused"] += 1
            return
        self._predict(path, name)
        self._num_removed += len(self.record.add(name, input_sha256, self.further, path))
        self.times["predicted"] += 1

    def _predict(self, path: Path, name: str) -> None:
        taxonomy = self._segmenter.taxonomy
        scan = read_scan_input(path, taxonomy, "normal" in self._segmenter.config.data.features, self._options)
        self.record.refuse_other_source(name, path)
        for remark in scan.remarks:
            if remark not in self._told:  # one that holds for many scans is made once
                self._told.add(remark)
                _say(remark)
        self.record.claim(name, self.further)
        wanted = Wanted(True, *(key in self.further for key in _ARRAYS))
        with ArrayFiles({key: self.record.path(name, key) for key in _ARRAYS if key in self.further}) as files:
            prediction = infer_scan(self._segmenter, scan, self._tta, wanted, files.allocate)
        write_prediction(self.record.path(name), prediction.ids)
        if "ply" in self.further:
            path = self.record.path(name, "ply")
            write_predicted_mesh(path, scan.file, taxonomy, prediction.labels, prediction.confidence)
        self._points_of_id += count_ids(prediction.ids)

    def gather(self, processes: Processes) -> None:
        """What has been done in all processes, on each of them."""
        everywhere = processes.gather_objects((self.times, self._points_of_id, self._num_removed))
        self.times = sum((times for times, _, _ in everywhere), Counter())
        self._points_of_id = sum((points for _, points, _ in everywhere), Counter())
        self._num_removed = sum(num_removed for _, _, num_removed in everywhere)

    def describe(self, num_scenes: int) -> str:
        """The last lines: what was done and where it is, and which classes were found."""
        times, folder = self.times, self.record.folder
        why = f" (earlier ones differ in {', '.join(self.record.changed)})" if self.record.changed else ""
        lines = [
            f"{num_scenes - times['failed']} of {num_scenes} scenes: {times['reused']} reused, "
            f"{times['predicted']} predicted{why}: {folder}/<scene>.txt, one id a vertex"
        ]
        if self.further:
            lines.append("with " + ", ".join(f"<scene>{SUFFIXES[key]}" for key in self.further))
        if self._num_removed:
            lines.append(f"removed {self._num_removed} files that went with earlier predictions of these scenes")
        if self._points_of_id:
            lines.append(format_shares(self._points_of_id, self._segmenter.taxonomy))
        return "\n".join(lines)


def _say(line: str) -> None:
    tqdm.write(format_complaint(line), file=sys.stderr)


def _refuse_to_overwrite(paths: Sequence[Path], record: PredictionRecord, further: Sequence[str]) -> None:
    """No output may take the place of an input, or of a file that is no prediction, as ScanNet's <scene>.txt."""
    for path in paths:
        for file in (record.path(scan_name(path), key) for key in ("prediction", *further)):
            if file.exists() and path.exists() and file.samefile(path):
                raise UsageError(
                    f"{path}: would be written over by its own prediction; choose another folder with --out"
                )
    record.refuse_other_files(map(scan_name, paths), further)


def _refuse_equal_names(paths: list[Path]) -> None:
    """Two inputs of one name would be written to one file."""
    for name, times in Counter(scan_name(path) for path in paths).items():
        if times > 1:
            raise UsageError(f"{times} inputs are named {name}; their predictions would be one file, rename them")


if __name__ == "__main__":
    run_command(main)
