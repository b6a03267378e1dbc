"""Files that others publish on the Hugging Face hub."""

import re
from pathlib import Path
from typing import NamedTuple

from pointseg.errors import DataError, UsageError, first_line, missing_library

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<path>.+)")


class HubFile(NamedTuple):
    """One file of a repository."""

    repo: str
    """OWNER/NAME."""
    path: str
    """In the repository."""
    revision: str | None
    """A branch, tag or commit; None: the newest."""


def parse_address(address: str) -> HubFile:
    """``hf://OWNER/REPO[@REVISION]/PATH``.

    Raises:
        UsageError: it is none.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UsageError(
            f"{address}: is no file of the hub; expected hf://OWNER/REPO/PATH or hf://OWNER/REPO@REVISION/PATH"
        )
    return HubFile(match["repo"], match["path"], match["revision"])


def fetch(address: str) -> Path:
    """Download a file, with a progress bar, or find it in the hub's cache.

    Args:
        address: as :func:`parse_address` takes it. A revision with a slash in it is written with ``%2F``.

    Returns:
        The file in the cache of ``huggingface_hub``, which other programs share (``HF_HOME``).

    Raises:
        UsageError: there is no such repository, revision or file, it is not public, or the library is not installed.
        DataError: the hub can't be reached.
    """
    file = parse_address(address)
    try:
        from huggingface_hub import errors as hub_errors
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import logging as hub_logging
    except ImportError:
        raise UsageError(missing_library(f"{address}: downloading", "huggingface_hub", "hub")) from None
    revision = None if file.revision is None else file.revision.replace("%2F", "/")
    hub_logging.set_verbosity_error()  # it tries again several times, and says so each time
    try:
        return Path(hf_hub_download(file.repo, file.path, revision=revision))
    except hub_errors.GatedRepoError:
        raise UsageError(f"{address}: is not open to everybody; ask for it on its page, then: hf auth login") from None
    except (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError):
        raise UsageError(f"{address}: there is no such repository, or it is not public; look at its name") from None
    except hub_errors.RevisionNotFoundError:
        raise UsageError(f"{address}: the repository has no revision {revision}") from None
    except (hub_errors.LocalEntryNotFoundError, hub_errors.OfflineModeIsEnabled):
        raise DataError(
            f"{address}: the hub can't be reached, and the file is not in its cache; try again, or download it "
            "elsewhere and give its path"
        ) from None
    except hub_errors.EntryNotFoundError:
        raise UsageError(f"{address}: the repository has no such file; look at its list of files") from None
    except hub_errors.HfHubHTTPError as error:
        raise DataError(f"{address}: the hub refuses ({first_line(error)}); try again later") from None
