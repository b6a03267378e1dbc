"""What is said of the scenes when a training begins."""

from pathlib import Path

from pointseg.commands import complain
from pointseg.config import Config
from pointseg.data.class_counts import ClassCounts
from pointseg.errors import and_more
from pointseg.scans.tree import SPLITS, name_splits
from pointseg.taxonomy import Taxonomy


def warn_of_missing_classes(counts: ClassCounts, config: Config, taxonomy: Taxonomy) -> None:
    """Say which classes can't be learned."""
    missing = counts.is_missing.nonzero().flatten().tolist()
    if missing:
        names = taxonomy.class_names
        where = f"{config.data.root}, {name_splits(config.data.train_split)}"
        shown = ", ".join(names[label] for label in missing[:5]) + and_more(missing, 5)
        complain(
            f"warning: {where}: {len(missing)} of {len(names)} classes occur in no training scene and can't be "
            f"learned: {shown}"
        )


def warn_of_shared_scenes(train_folders: list[Path], val_folders: list[Path]) -> None:
    """Say which scenes are trained on and validated on: their scores say nothing of other scenes.

    Folders of other names than train, val and test, as S3DIS's areas, have rooms of the same names.
    """

    def name(folder: Path) -> str:
        return folder.name if folder.parent.name in SPLITS else str(folder)

    shared = sorted({name(folder) for folder in train_folders} & {name(folder) for folder in val_folders})
    if shared:
        complain(
            f"warning: {len(shared)} of {len(val_folders)} scenes to validate on are trained on, too "
            f"({', '.join(shared[:3])}{and_more(shared, 3)}): their scores say nothing of new scenes"
        )
