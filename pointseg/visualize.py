"""``python -m pointseg.visualize --scene SCAN|PREPARED_SCENE [--pred FILE.txt] [--save PNG|PLY|HTML] [--serve]``."""

import argparse
import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointseg.command_line import CommandParser
from pointseg.commands import called, complain, run_command
from pointseg.errors import DataError, UsageError
from pointseg.formats import Mesh, write_mesh
from pointseg.output.own_files import check_output_file, refuse_to_replace_other_mesh
from pointseg.output.panels import class_colors
from pointseg.output.picture import DEFAULT_PANEL_WIDTH_PX, ENGINES, Picture, save_pictures
from pointseg.output.prediction_record import RECORD_NAME, read_taxonomy
from pointseg.output.submission import read_predicted_labels, read_prediction
from pointseg.pages.server import LOOPBACK
from pointseg.scan_arguments import add_scan_arguments, scan_options
from pointseg.scannet.raw_scan import LABEL_MAP_NAME, is_annotated_mesh, read_label_map, read_raw_scene
from pointseg.scans.own_scan import ScanOptions
from pointseg.scans.prepared import refuse_labels_of_other_classes
from pointseg.scans.scan_input import read_scan_input, scan_name
from pointseg.scans.scene import Scene
from pointseg.taxonomy import CLASS_TABLE, NAMES, Taxonomy, load_taxonomy
from pointseg.window.content import make_content
from pointseg.window.process import has_screen, show_window

_SMALLEST_PANEL_PX, _LARGEST_PANEL_PX = 320, 4000


def main(argv: Sequence[str]) -> int:
    """Show a scene with what is known of it: in a window, as a picture, or as a coloured mesh."""
    args = build_parser().parse_args(argv)
    if args.save is not None and args.save.suffix not in (".png", ".ply", ".html"):
        raise UsageError(f"{args.save}: can't be written in this format; give a name that ends in .png, .ply or .html")
    if args.save is not None:
        check_output_file(args.save, "--save", [args.scene, *args.pred, *([args.gt] if args.gt else [])])
        if args.save.suffix == ".ply":
            refuse_to_replace_other_mesh(args.save)
    if args.serve is not None or (args.save is not None and args.save.suffix == ".html"):
        return show_in_browser(args)
    if len(args.pred) > 1:
        raise UsageError(f"--pred: {len(args.pred)} files; give one, or look at them with --serve")
    args.pred = args.pred[0] if args.pred else None
    if args.save is None and not has_screen():
        raise UsageError("there is no screen for a window; use --serve, or --save PICTURE.png")
    if not _SMALLEST_PANEL_PX <= args.size <= _LARGEST_PANEL_PX:
        raise UsageError(f"--size {args.size} is not between {_SMALLEST_PANEL_PX} and {_LARGEST_PANEL_PX} pixels")
    taxonomy = choose_taxonomy(args.taxonomy, args.scene, args.pred)
    scene, faces, has_place = _read_scene(args.scene, taxonomy, scan_options(args))
    num_points = len(has_place)
    if args.gt is not None:
        scene.label = taxonomy.label_from_class_id(read_prediction(args.gt, num_points))[has_place]
    prediction = None
    if args.pred is not None:
        prediction = read_predicted_labels(args.pred, num_points, taxonomy)[has_place]

    if args.save is None:
        show_window(make_content(scene, faces, prediction, taxonomy))
        return 0
    if args.save.suffix == ".png":
        save_pictures([Picture(args.save, scene, taxonomy, faces, prediction)], args.engine, args.size)
    else:
        label = prediction if prediction is not None else scene.label
        if label is None:
            raise UsageError(f"{args.scene}: has no labels to colour a mesh by; give a prediction by --pred")
        write_mesh(args.save, Mesh(scene.xyz, faces, class_colors(label, taxonomy), scene.normal))
    print(args.save)
    return 0


def build_parser() -> CommandParser:
    """Arguments of this command."""
    parser = CommandParser("visualize", description="Look at a scene: colours, labels, prediction, errors.")
    parser.add_argument(
        "--scene", type=Path, required=True, help="a scan (PLY, OBJ, GLB, LAS, ...) or the folder of a prepared scene"
    )
    parser.add_argument(
        "--pred",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE.txt",
        help="prediction: one class_id a vertex; with --serve several to choose from, or a folder to find them below",
    )
    parser.add_argument("--gt", type=Path, metavar="FILE.txt", help="ground truth in the same form; 0: not annotated")
    parser.add_argument(
        "--save",
        type=Path,
        metavar="PNG|PLY|HTML",
        help="write a picture, a coloured mesh, or a page for a browser with the scene to turn; no window",
    )
    parser.add_argument(
        "--serve",
        type=int,
        nargs="?",
        const=0,
        metavar="PORT",
        help="show the scene to a browser, as on another machine, until Ctrl-C; default: a free port",
    )
    parser.add_argument(
        "--host", help=f"address to serve at; if not given: {LOOPBACK}, which this machine alone reaches"
    )
    parser.add_argument(
        "--taxonomy",
        metavar="NAME|TSV",
        help=f"classes of the ids and the labels: {', '.join(NAMES)} or a table; default: what the record of the "
        "prediction says, or the tree's own, or scannet200",
    )
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="what draws the picture")
    parser.add_argument("--size", type=int, default=DEFAULT_PANEL_WIDTH_PX, help="width of a panel, pixels")
    add_scan_arguments(parser)
    return parser


def show_in_browser(args: argparse.Namespace) -> int:
    """Write the page of the scene, or serve it."""
    from pointseg.pages.libraries import check_page_libraries
    from pointseg.pages.visit import Visit

    if args.save is not None and args.serve is not None:
        raise UsageError("--save writes a file, --serve answers a browser; choose one of the two")
    if args.serve is None and args.host is not None:
        raise UsageError("--host says where to serve; give --serve, too")
    check_page_libraries(str(args.save or args.scene))
    files = find_predictions(args.pred, args.scene)
    taxonomy = choose_taxonomy(args.taxonomy, args.scene, files[0] if files else None)
    scene, _, has_place = _read_scene(args.scene, taxonomy, scan_options(args))
    if args.gt is not None:
        scene.label = taxonomy.label_from_class_id(read_prediction(args.gt, len(has_place)))[has_place]

    def refuse_other_classes(path: Path) -> None:
        if choose_taxonomy(args.taxonomy, args.scene, path).fingerprint != taxonomy.fingerprint:
            raise DataError(f"{path}: is of other classes than {files[0]}; look at each by itself")

    visit = Visit(scene, taxonomy, has_place, files, refuse_other_classes)
    return visit.serve(args.host or LOOPBACK, args.serve) if args.save is None else visit.save(args.save)


def find_predictions(given: Sequence[Path], scene: Path) -> list[Path]:
    """The prediction files that are meant; below a folder, those that are called as the scene.

    Raises:
        DataError: there is none below a folder.
    """
    files: list[Path] = []
    for path in given:
        found = sorted(path.rglob(f"{glob.escape(scan_name(scene))}.txt")) if path.is_dir() else [path]
        if not found:
            raise DataError(f"{path}: has no {scan_name(scene)}.txt in it or below; predict the scene first")
        files += found
    return list(dict.fromkeys(files))


def choose_taxonomy(given: str | None, scene: Path, prediction: Path | None) -> Taxonomy:
    """The classes that are meant: those given, of the prediction's record, of the scene's tree, or ScanNet200's.

    Raises:
        UsageError: those given are not the ones that the record says; or there are no such classes.
    """
    try:
        recorded = None if prediction is None else read_taxonomy(prediction.parent)
    except DataError:
        if given is None:
            raise
        recorded = None
    if given is not None:
        taxonomy = load_taxonomy(given)
        if recorded is not None and recorded.fingerprint != taxonomy.fingerprint:
            raise UsageError(
                f"{prediction}: is of other classes than {given}, as {RECORD_NAME} beside it says; leave out --taxonomy"
            )
        return taxonomy
    if recorded is not None:
        return recorded
    table = scene.parent.parent / CLASS_TABLE
    return load_taxonomy(str(table) if scene.is_dir() and table.is_file() else "scannet200")


def _read_scene(path: Path, taxonomy: Taxonomy, options: ScanOptions) -> tuple[Scene, np.ndarray | None, np.ndarray]:
    """The scene, with ground truth where it has one; its faces; and (N,) bool: which points of the file it has."""
    if path.is_dir() and not (path / "coord.npy").is_file():
        raise DataError(
            f"{path}: is no prepared scene, which holds coord.npy; "
            f"give a folder that {called('prepare')} made, or the file of a scan"
        )
    if path.is_dir():
        refuse_labels_of_other_classes([path], taxonomy)
    label_map = path.parent.parent.parent / LABEL_MAP_NAME
    has_annotation = taxonomy.is_benchmark and is_annotated_mesh(path)
    if has_annotation and label_map.is_file():
        raw = read_raw_scene(path.parent, read_label_map(label_map), align=False)
        assert raw.annotation is not None, "annotated scans are read with their annotation"
        label = raw.annotation.label200 if taxonomy.name == "scannet200" else raw.annotation.label20
        scene = Scene(raw.name, raw.mesh.xyz, raw.mesh.rgb, raw.mesh.normal, label)
        return scene, raw.mesh.faces, np.ones(scene.num_points, dtype=bool)
    if has_annotation:
        complain(f"{label_map}: is missing, so the ground truth is not shown")
    scan = read_scan_input(path, taxonomy, needs_normal=False, options=options)
    for remark in scan.remarks:
        complain(remark)
    return scan.scene, scan.faces, scan.has_place


if __name__ == "__main__":
    run_command(main)
