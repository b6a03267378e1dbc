"""The room of the pictures."""

from tests.output.conftest import room, taxonomy  # noqa: F401
