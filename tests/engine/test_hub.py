"""Weights from the hub: its client against a small server on this machine that says what the hub would say."""

import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from pointseg.engine.hub import HubFile, parse_address
from pointseg.errors import UsageError
from tests.models.published_volt_files import published_volt_state

ADDRESS = "hf://somebody/nets/experiments/model_last.pth"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """One repository with one file at the revisions ``main`` and ``v2``; another one that wants a login."""

    content = b""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        for path in (f"/somebody/nets/resolve/{revision}/experiments/model_last.pth" for revision in ("main", "v2")):
            if self.path == path:
                self.send_response(200)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
                self.send_header("Content-Length", str(len(self.content)))
                self.end_headers()
                self.wfile.write(self.content if with_body else b"")
                return
        if self.path.startswith("/somebody/loop/"):
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/somebody/noise/"):
            self.wfile.write(b"\x00\x01no HTTP\r\n\r\n")
            self.close_connection = True
        elif self.path.startswith("/somebody/cut/"):
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", '"cut"')
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content[: len(self.content) // 2] if with_body else b"")
            self.close_connection = True
        elif self.path.startswith("/somebody/plain/"):  # as a proxy says it, without the hub's own headers
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/somebody/closed/"):
            self._refuse(403, "GatedRepo")
        elif not self.path.startswith("/somebody/nets/"):
            self._refuse(404, "RepoNotFound")
        elif "/resolve/main/" in self.path:
            self._refuse(404, "EntryNotFound")
        else:
            self._refuse(404, "RevisionNotFound")

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", f"refused: {code}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """The address of a server that has a small Volt."""
    file = io.BytesIO()
    state = {f"module.{name}": value for name, value in published_volt_state().items()}
    torch.save({"epoch": 1, "state_dict": state}, file)
    Hub.content = file.getvalue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


def _convert(address: str, hub: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "pointseg.convert", address, "--out", str(tmp_path / "run")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.needs("huggingface_hub")
@pytest.mark.parametrize("revision", ["", "@v2"])
def test_a_file_of_the_hub_becomes_a_run_and_stays_in_the_cache(revision: str, hub: str, tmp_path: Path) -> None:
    result = _convert(ADDRESS.replace("nets", f"nets{revision}"), hub, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "a Volt of" in result.stdout
    assert result.stderr == ""  # the bar is for terminals
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()
    (cached,) = (tmp_path / "cache").rglob("snapshots/*/experiments/model_last.pth")
    assert cached.read_bytes() == Hub.content
    (tmp_path / "run").rename(tmp_path / "first")
    # Once it is there, the hub is not needed.
    again = _convert(ADDRESS.replace("nets", f"nets{revision}"), "http://127.0.0.1:9", tmp_path)
    assert again.returncode == 0, again.stderr


@pytest.mark.needs("huggingface_hub")
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://somebody/other/model.pth", "there is no such repository, or it is not public"),
        ("hf://somebody/closed/model.pth", "is not open to everybody; ask for it on its page"),
        ("hf://somebody/nets/model.pth", "the repository has no such file"),
        ("hf://somebody/nets@v9/experiments/model_last.pth", "the repository has no revision v9"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(address: str, message: str, hub: str, tmp_path: Path) -> None:
    result = _convert(address, hub, tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(f"pointseg.convert: {address}: {message}")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.needs("huggingface_hub")
@pytest.mark.slow  # its client tries five times
def test_a_hub_that_can_not_be_reached_is_said_in_one_line(tmp_path: Path) -> None:
    result = _convert(ADDRESS, "http://127.0.0.1:9", tmp_path)
    assert result.returncode == 1
    assert "the hub can't be reached, and the file is not in its cache" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.needs("huggingface_hub")
@pytest.mark.parametrize(
    ("repo", "message"),
    [
        ("loop", "can't be downloaded (TooManyRedirects: "),
        ("noise", "can't be downloaded ("),
        ("cut", "can't be downloaded ("),
        ("plain", "the hub refuses ("),
    ],
)
def test_a_server_that_is_no_hub_is_said_in_one_line(repo: str, message: str, hub: str, tmp_path: Path) -> None:
    address = f"hf://somebody/{repo}/model.pth"
    result = _convert(address, hub, tmp_path)
    assert result.returncode == 1, result.stderr
    lines = [line for line in result.stderr.splitlines() if "%|" not in line and line.strip()]  # but the progress bar
    assert len(lines) == 1
    assert lines[0].startswith(f"pointseg.convert: {address}: {message}")
    assert lines[0].endswith("download it elsewhere and give its path")
    assert not (tmp_path / "run").exists()


@pytest.mark.needs("huggingface_hub")
def test_an_environment_that_its_client_does_not_take_is_said_in_one_line(tmp_path: Path) -> None:
    result = _convert(ADDRESS, "http://[::1", tmp_path)
    assert result.returncode == 2
    assert "huggingface_hub does not take the environment's variables HF_..." in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_addresses() -> None:
    assert parse_address(ADDRESS) == HubFile("somebody/nets", "experiments/model_last.pth", None)
    assert parse_address("hf://a/b@v1.0/c.pth") == HubFile("a/b", "c.pth", "v1.0")
    wrong = [
        "hf://a/b",
        "hf://a",
        "hf://a/b@/c",
        "hf:///b/c",
        "hf://a/b/",
        "hf://a/b//c",
        "hf://a/b/dir/",
        "hf://a/b/.",
    ]
    wrong += ["hf://a/b/../c", "hf://a/b/c/..", "hf://a/b@../c", "hf://a/b@..%2F..%2Fx/c", "hf://a/b@%2Fx/c"]
    for address in wrong:
        with pytest.raises(UsageError, match="is no file of the hub; expected hf://OWNER/REPO"):
            parse_address(address)


def test_without_the_library_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pointseg.convert import main as convert

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"needs huggingface_hub; type: pip install 'pointseg\[hub\]'"):
        convert([ADDRESS, "--out", str(tmp_path / "run")])
