"""A page that shows runs while they train: served on this machine only, it refreshes itself."""

import json
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gymformer.monitoring.report import RunRecord, find_runs, page, page_data, samples_html

__all__ = ["watch"]

HOST = "127.0.0.1"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what a folder that is no run's can make of reading it


def watch(runs: Sequence[str | Path], port: int = 0, threshold: float | None = None) -> ThreadingHTTPServer:
    """A server of the report of the runs as they are at each request, on 127.0.0.1 (port 0: any that is free). Runs that appear
    below the paths later are shown too. `serve_forever()` serves it, `server_port` is its port, `shutdown()` ends it.

    Raises FileNotFoundError where the paths hold no run, OSError where the port is taken."""
    find_runs(runs)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # A page of another site can make a browser ask us under a name of its own (DNS rebinding): that is refused.
            if self.headers.get("Host") not in (f"{HOST}:{self.server.server_port}", f"localhost:{self.server.server_port}"):  # type: ignore[attr-defined]
                return self.answer(403, "text/plain", "this page is for 127.0.0.1 only\n")
            if self.path not in ("/", "/data.json"):
                return self.answer(404, "text/plain", "there is / and /data.json\n")
            try:
                records = [RunRecord.read(folder) for folder in find_runs(runs)]
            except UNREADABLE as error:  # a folder that went, or a broken line: the page says so and goes on asking
                return self.answer(503, "text/plain", f"{error}\n")
            if self.path == "/":
                return self.answer(200, "text/html", page(records, threshold=threshold, live=True))
            data = page_data(records, threshold=threshold) | {"live": True, "samples": samples_html(records)}
            return self.answer(200, "application/json", json.dumps(data, allow_nan=False))

        def answer(self, status: int, kind: str, text: str) -> None:
            content = text.encode("utf-8", "replace")
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the terminal belongs to whoever started the watch."""

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise OSError(
            f"port {port} of {HOST} cannot be used ({error.strerror}); give another one, or 0 for any that is free"
        ) from error
    server.daemon_threads = True
    return server
