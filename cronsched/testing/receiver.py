"""A receiver to try webhooks against: prints every call. `python3 -m cronsched.testing.receiver [port]`

Needs nothing but Python, so that it runs outside the virtual environment too.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        moment = f"{datetime.now(UTC):%H:%M:%S.%f}"[:-3]
        run = self.headers.get("webhook-id", "-")
        text = body.decode(errors="replace")
        sys.stdout.write(f"{moment} UTC  POST {self.path}  webhook-id={run}  {text}\n")
        sys.stdout.flush()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"received\n")

    def log_message(self, *args: object) -> None:
        """The line above says it all."""


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8099
    sys.stdout.write(f"Waiting for calls on http://127.0.0.1:{port}/ (Ctrl-C ends it)\n")
    sys.stdout.flush()
    try:
        ThreadingHTTPServer(("127.0.0.1", port), Receiver).serve_forever()
    except KeyboardInterrupt:
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
