"""Pages for a browser on another machine: a small server, on loopback unless told otherwise, until Ctrl-C."""

import errno
import sys
from collections.abc import Callable, Mapping
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pointseg.atomic import TEXT_ERRORS
from pointseg.errors import PointsegError, UsageError, describe_os_error

LOOPBACK = "127.0.0.1"
SCRIPT_PATH = "/plotly.js"
_REMEDIES = {
    errno.EADDRINUSE: "is in use; give --serve another port, or none for a free one",
    errno.EACCES: "needs the rights of an administrator; give --serve a port above 1023",
}
MakePage = Callable[[Mapping[str, str]], str]
"""The page for the fields of a form, as HTML. Raises a ``PointsegError`` for what a person has to mend."""


def open_server(make_page: MakePage, host: str, port: int) -> ThreadingHTTPServer:
    """A server that answers from ``serve_forever`` on.

    Args:
        make_page: makes the one page.
        host: the address to listen at.
        port: 0: a free one.

    Raises:
        UsageError: the address is taken, or not one of this machine.
    """
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs().encode()

    class Handler(_Handler):
        def find(self, path: str, fields: Mapping[str, str]) -> tuple[HTTPStatus, str, bytes]:
            if path == SCRIPT_PATH:
                return HTTPStatus.OK, "text/javascript", script
            if path != "/":
                return HTTPStatus.NOT_FOUND, "text/html", b"<p>There is one page: <a href='/'>/</a></p>"
            return answer(make_page, fields)

    try:
        return _Server((host, port), Handler)
    except OSError as error:
        reason = error.strerror or error
        other = f"can't be listened at ({reason}); give --host an address of this machine"
        raise UsageError(f"{host}:{port}: {_REMEDIES.get(error.errno or 0, other)}") from None


def answer(make_page: MakePage, fields: Mapping[str, str]) -> tuple[HTTPStatus, str, bytes]:
    """The page, or what is wrong in one line, with a way back."""
    try:
        return HTTPStatus.OK, "text/html", make_page(fields).encode(errors=TEXT_ERRORS)
    except (PointsegError, OSError) as error:
        line = describe_os_error(error) if isinstance(error, OSError) else str(error)
        page = f"<!DOCTYPE html><meta charset='utf-8'><p>{escape(line)}</p><p><a href='/'>back</a></p>"
        return HTTPStatus.UNPROCESSABLE_ENTITY, "text/html", page.encode(errors=TEXT_ERRORS)


def serve(server: ThreadingHTTPServer) -> None:
    """Answer until Ctrl-C, which is the way to end it and no mistake."""
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print(file=sys.stderr)  # after the ^C of the terminal
    finally:
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a browser that keeps its connection does not hold up the end

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away; anything else is a defect of ours and keeps its traceback."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    def find(self, path: str, fields: Mapping[str, str]) -> tuple[HTTPStatus, str, bytes]:
        """Status, type and content for a path and the fields behind its question mark."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answer one request."""
        parts = urlsplit(self.path)
        status, kind, content = self.find(parts.path, dict(parse_qsl(parts.query)))
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Be silent: the terminal has the address in it, and keeps it."""
