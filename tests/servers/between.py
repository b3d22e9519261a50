"""A TCP proxy between a client and a server, which passes on what it gets until a test tells it to misbehave."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Literal

Mode = Literal["pass", "slow", "cut", "rubbish"]
RUBBISH = b"<html><body>502 Bad Gateway</body></html>\r\n" * 4
_PART = 1 << 16


class Between:
    """Listens on `port` and passes connections on to `target`, a port of loopback or the path of a Unix socket.

    `mode` may be changed at any time, for connections that exist too: `pass`; `slow` holds each part of an answer back for `delay_s`;
    `cut` closes every connection, and each new one after it was accepted; `rubbish` answers with a web page that no protocol here speaks.
    """

    def __init__(self, target: int | str, *, delay_s: float = 0.2) -> None:
        self.target, self.delay_s = target, delay_s
        self.mode: Mode = "pass"
        self.connections = 0
        """Accepted so far."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Go away, connections and all."""
        self._over.set()
        self._listening.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError, ValueError):
                if not select.select([self._listening], [], [], 0.05)[0]:
                    continue
                client, _ = self._listening.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.mode == "cut":
                return
            with self._reach() as server:
                self._pass_on(client, server)

    def _reach(self) -> socket.socket:
        if isinstance(self.target, int):
            return socket.create_connection(("127.0.0.1", self.target))
        found = socket.socket(socket.AF_UNIX)
        found.connect(self.target)
        return found

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while not self._over.is_set():
            for ready in select.select([client, server], [], [], 0.02)[0]:
                data = ready.recv(_PART)
                if not data:
                    return
                if self.mode == "cut":
                    return
                if ready is client and self.mode == "rubbish":
                    client.sendall(RUBBISH)
                elif ready is client:
                    server.sendall(data)
                else:
                    if self.mode == "slow":
                        time.sleep(self.delay_s)
                    client.sendall(RUBBISH if self.mode == "rubbish" else data)
            if self.mode == "cut":
                return


@contextlib.contextmanager
def standing_between(target: int | str, *, delay_s: float = 0.2) -> Iterator[Between]:
    """A proxy before `target`, closed at the end."""
    proxy = Between(target, delay_s=delay_s)
    try:
        yield proxy
    finally:
        proxy.close()
