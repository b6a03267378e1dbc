"""What the documentation tells people to run, runs."""

import re
from pathlib import Path

import pytest

METHOD = Path(__file__).parents[1] / "docs" / "method.md"


def test_the_2d_example_learns(capsys: pytest.CaptureFixture[str]) -> None:
    """The one program in docs/method.md: after 100 steps most of its noisy pixels are right."""
    (program,) = re.findall(r"```python\n(.*?)```", METHOD.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(program, str(METHOD), "exec"), {})
    assert float(re.search(r"accuracy (\S+)", capsys.readouterr().out)[1]) > 0.9  # type: ignore[index]
