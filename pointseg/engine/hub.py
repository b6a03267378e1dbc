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
    # What is no name would lead to other folders of the cache.
    names = [] if match is None else f"{match['path']}/{_name_revision(match['revision']) or 'main'}".split("/")
    if match is None or {"", ".", ".."} & set(names):
        raise UsageError(
            f"{address}: is no file of the hub; expected hf://OWNER/REPO/PATH or hf://OWNER/REPO@REVISION/PATH"
        )
    return HubFile(match["repo"], match["path"], match["revision"])


def _name_revision(written: str | None) -> str | None:
    return None if written is None else written.replace("%2F", "/")


def fetch(address: str) -> Path:
    """Download a file, with a progress bar, or find it in the hub's cache.

    Args:
        address: as :func:`parse_address` takes it. A revision with a slash in it is written with ``%2F``.

    Returns:
        The file in the cache of ``huggingface_hub``, which other programs share (``HF_HOME``).

    Raises:
        UsageError: there is no such repository, revision or file, it is not public, or the library is not installed.
        DataError: the hub can't be reached, refuses, or is cut off while it sends.
        OSError: the cache can't be written.
    """
    file = parse_address(address)
    try:
        from huggingface_hub import errors as hub_errors
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import logging as hub_logging
    except ImportError:
        raise UsageError(missing_library(f"{address}: downloading", "huggingface_hub", "hub")) from None
    except ValueError as error:  # it reads them as it is imported
        raise UsageError(
            f"{address}: huggingface_hub does not take the environment's variables HF_... ({first_line(error)}); "
            "correct them"
        ) from None
    revision = _name_revision(file.revision)
    hub_logging.set_verbosity_error()  # it tries again several times, and says so each time
    try:
        return Path(hf_hub_download(file.repo, file.path, revision=revision))
    except hub_errors.GatedRepoError:
        raise UsageError(f"{address}: is not open to everybody; ask for it on its page, then: hf auth login") from None
    except (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError):
        raise UsageError(f"{address}: there is no such repository, or it is not public; look at its name") from None
    except hub_errors.RevisionNotFoundError:
        raise UsageError(f"{address}: the repository has no revision {revision}") from None
    except (hub_errors.LocalEntryNotFoundError, hub_errors.OfflineModeIsEnabled) as error:
        if isinstance(error.__cause__, hub_errors.HfHubHTTPError):  # it was reached, and said no
            raise _refused(address, error.__cause__) from None
        raise DataError(
            f"{address}: the hub can't be reached, and the file is not in its cache; try again, or download it "
            "elsewhere and give its path"
        ) from None
    except hub_errors.EntryNotFoundError:
        raise UsageError(f"{address}: the repository has no such file; look at its list of files") from None
    except hub_errors.HfHubHTTPError as error:
        raise _refused(address, error) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the cache's disk
            raise
        # Its client is another library from release to release, and each lets its own errors through: a connection that
        # is cut, redirects without end, an HF_ENDPOINT that is no address.
        raise DataError(
            f"{address}: can't be downloaded ({type(error).__name__}: {first_line(error)}); try again, or download it "
            "elsewhere and give its path"
        ) from None


def _refused(address: str, error: Exception) -> DataError:
    return DataError(
        f"{address}: the hub refuses ({first_line(error)}); try again later, or download it elsewhere and give its path"
    )
