"""Imports go one way, nothing heavy is imported before it is needed, and files stay readable in one sitting."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pointseg.commands import COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pointseg"

# From the bottom up: a module imports from its own part (folder or file), or from one of a lower layer.
LAYERS = [
    {"errors", "atomic", "cores"},
    {"atomic_directory"},
    {"commands"},
    {"command_line", "folder_lock"},
    {"taxonomy", "formats", "processes"},
    {"config", "sparse", "collapse"},
    {"models", "losses", "metrics", "scans"},
    {"preparation", "runs"},
    {"scannet", "labelled", "data"},
    {"engine", "output", "rooms"},
    {"laboratory", "benchmarks", "pages", "window"},
    {"run_arguments", "scan_arguments"},
    {command.module for command in COMMANDS.values()} | {"__main__"},
]
# Take tensors and arrays only, so that other projects can use them.
STANDALONE = {
    "formats": {"errors", "atomic", "cores"},
    "collapse": {"taxonomy"},
    "losses": {"taxonomy"},
    "sparse": {"errors"},
}


def _part(module: str) -> str | None:
    """The folder or file of pointseg that an absolute name belongs to."""
    parts = module.split(".")
    return parts[1] if parts[0] == "pointseg" and len(parts) > 1 else None


def _imports() -> list[tuple[str, Path, str]]:
    """(importing part, file, imported part) for every import, inside functions too."""
    arrows = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE).with_suffix("")
        if relative.parts == ("__init__",):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            source = _part(".".join(("pointseg", *relative.parts)))
            assert source is not None
            arrows += [(source, path, part) for name in names if (part := _part(name))]
    return arrows


def test_every_part_has_a_layer() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} == set().union(*LAYERS)


def test_no_import_points_back() -> None:
    height = {part: level for level, layer in enumerate(LAYERS) for part in layer}
    wrong = [
        f"{path.relative_to(ROOT)} imports pointseg.{target}"
        for source, path, target in _imports()
        if target not in ("__version__", source) and height[target] > height[source]
    ]
    assert wrong == []


def test_no_room_is_larger_than_an_eighth() -> None:
    """Of the lines of Python, scripts included."""
    lines: Counter[str] = Counter()
    for top in ("pointseg", "data_prep", "submissions"):
        for path in (ROOT / top).rglob("*.py"):
            place = path.relative_to(ROOT).parts
            lines["/".join(place[:2]) if len(place) > 2 else place[0]] += path.read_text(encoding="utf-8").count("\n")
    (room, most), *_ = lines.most_common()
    assert most <= sum(lines.values()) / 8, f"{room}: {most} of {sum(lines.values())} lines"


def test_no_two_parts_import_each_other() -> None:
    arrows = {(source, target) for source, _, target in _imports() if target != "__version__" and source != target}
    assert [pair for pair in sorted(arrows) if pair[::-1] in arrows] == []


def test_no_command_imports_another() -> None:
    """What two of them share is in a file of its own: ``run_arguments``, ``scan_arguments``."""
    modules = {command.module for command in COMMANDS.values()}
    assert [arrow for arrow in _imports() if {arrow[0], arrow[2]} <= modules and arrow[0] != arrow[2]] == []


@pytest.mark.parametrize("part", sorted(STANDALONE))
def test_what_others_can_use_needs_nothing_of_ours(part: str) -> None:
    wanted = {target for source, _, target in _imports() if source == part and target != part}
    assert wanted <= STANDALONE[part]


def test_optional_libraries_are_imported_only_when_they_are_needed() -> None:
    modules = [*(command.module for command in COMMANDS.values()), "__main__", "engine.trainer", "output.report"]
    code = "import sys, importlib\n"
    code += "".join(f"importlib.import_module('pointseg.{name}')\n" for name in modules)
    optional = {
        "open3d",
        "matplotlib",
        "spconv",
        "spconv_triton",
        "torch_scatter",
        "trimesh",
        "laspy",
        "plotly",
        "itables",
        "pandas",
    }
    code += f"print(*sorted({optional} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_importing_the_package_does_not_import_pytorch() -> None:
    code = "import sys, pointseg; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_train_entry_is_small() -> None:
    """At most 50 modules of ours stand behind ``import pointseg.train``; those for others' checkpoints do not."""
    code = (
        "import sys\nbefore = set(sys.modules)\nimport pointseg.train\n"
        "print(*sorted(m for m in set(sys.modules) - before if m.split('.')[0] == 'pointseg'\n"
        "              and not sys.modules[m].__file__.endswith('__init__.py')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(result.stdout.split()) <= 50, result.stdout
    assert not {"pointseg.models.published", "pointseg.convert"} & set(result.stdout.split())


def test_files_and_functions_can_be_read_in_one_sitting() -> None:
    for top in ("pointseg", "data_prep", "submissions"):
        for path in (ROOT / top).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert text.count("\n") <= 350, f"{path}: {text.count(chr(10))} lines"
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                    assert node.end_lineno - node.lineno + 1 <= 60, f"{path}:{node.lineno} {node.name}"
