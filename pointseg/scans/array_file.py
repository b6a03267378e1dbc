"""Reading NumPy's files, whatever is wrong with them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pointseg.errors import DataError, describe_os_error, first_line


def load_array(path: Path, describe_remedy: Callable[[], str]) -> np.ndarray:
    """The array in a ``.npy`` file, of any shape and dtype but objects.

    Args:
        path: of the file.
        describe_remedy: what to do if it is bad, asked for only then.

    Raises:
        DataError: the file is missing, truncated, can't be read or is no array.
    """
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: is missing; {describe_remedy()}") from None
    except OSError as error:
        raise DataError(f"{describe_os_error(error)}; {describe_remedy()}") from None
    except Exception as error:
        # NumPy reads the header as Python: what a damaged one raises can be anything, a MemoryError among it.
        raise DataError(f"{path}: is truncated or no array ({first_line(error)}); {describe_remedy()}") from None
    return array
