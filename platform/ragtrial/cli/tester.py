"""`ragtrial tester`: the page on which testers ask, read and vote."""

import os
import sys
from typing import Annotated

import typer

from ragtrial.cli.terminal import console


def serve_page(
    *,
    service: Annotated[
        str, typer.Option("--service", metavar="URL", help="Root address of the service (`ragtrial serve`) that is asked.")
    ] = "http://127.0.0.1:8000",
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is every one of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8502,
) -> None:
    """Serve the tester's page: ask, read the answer with its sources, vote; or say which of two answers is better.

    It knows nothing of experiments and never says which arm answers. Testers sign in with their keys (`ragtrial keys create ... --role
    tester`); the environment variable RAGTRIAL_TESTER_KEY holds a key for a page that asks nobody for one. Each signed-in tester is one
    unit of the split, and each visit to a page with a key of its own. Stop it with Ctrl+C or SIGTERM.
    """
    import json

    from ragtrial.cli.dashboard import free_port, pages_folder, reachable
    from ragtrial.cli.serving import is_loopback
    from ragtrial.settings import read_settings

    script, number = pages_folder("the tester's page") / "tester_server.py", free_port(host, port)
    address = _address_of(service)
    given = json.dumps({"service": address, "host": host, "port": number})
    console().print(f"tester's page: http://{reachable(host)}:{number}, asking {address}; Ctrl+C ends it", markup=False, soft_wrap=True)
    settings = read_settings()
    if settings.secret("RAGTRIAL_TESTER_KEY") is not None and not is_loopback(host):
        console().print("whoever reaches it asks and votes with the key in RAGTRIAL_TESTER_KEY", markup=False, soft_wrap=True)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, str(script)], {**settings.environment, "RAGTRIAL_TESTER": given})  # noqa: S606 - our own file


def _address_of(service: str) -> str:
    """The service's root address.

    Raises:
        InputError: It is none.
    """
    from urllib.parse import urlsplit

    from ragtrial.errors import InputError

    try:
        parts = urlsplit(service)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment or parts.username)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"--service is {service!r}: give its root address, as in http://127.0.0.1:8000")
    return service.rstrip("/")
