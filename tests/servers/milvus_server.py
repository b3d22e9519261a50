"""A real Milvus 2.3.5 (standalone, from the package `milvus` on PyPI) for the tests.

Started by its binary and not by the package's `default_server`, which changes the working directory, collides on etcd's peer
port 2380 and stops only on SIGTERM, which Milvus may take half an hour to follow. A fresh data folder each time: a restart
on an old one takes up to a minute.
"""

import contextlib
import importlib.util
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

START_SECONDS = 120.0

_DIE_WITH_PARENT = "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); os.execv(sys.argv[1], sys.argv[1:])"
"""A test run that is killed takes its server along: prctl's PR_SET_PDEATHSIG, which outlives exec."""


def why_not() -> str | None:
    """Why the server can't be started here, or None where it can."""
    if sys.platform != "linux" or platform.machine() not in {"x86_64", "AMD64"}:
        return f"the Milvus server of the tests needs Linux on x86-64, not {sys.platform} on {platform.machine()}"
    if importlib.util.find_spec("milvus") is None:
        return "the Milvus server of the tests is not installed: pip install 'ragtrial[milvus-server]'"
    return None


@contextlib.contextmanager
def running(folder: Path, *, authorization: bool = False) -> Iterator[str]:
    """Start a server on free ports and kill it at the end.

    Args:
        folder: An empty folder for its data, configuration and logs.
        authorization: Whether it asks for a token (`root:Milvus`).

    Yields:
        Its address, `http://127.0.0.1:PORT`.

    Raises:
        RuntimeError: It ended or wasn't healthy in time; the message holds the end of its log.
    """
    from milvus import MilvusServerConfig

    binaries = _unpacked()
    config = MilvusServerConfig(data_dir=str(folder), authorization_enabled=authorization)
    names = [key for key in config.configurable_items if key.endswith("_port")]
    metrics, client, peer, *ports = _free_ports(len(names) + 3)
    chosen = dict(zip(names, ports, strict=True)) | {"etcd_port": client}
    config.update(**chosen)
    config.set("authorization_enabled", authorization)
    config.resolve()
    etcd = folder / "configs" / "etcd.yaml"
    etcd.write_text(_etcd_config(folder, client, peer), encoding="utf-8")
    _edit(folder / "configs" / "milvus.yaml", etcd)
    environment = os.environ | {
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(metrics),
        "MILVUS_RUN_DIR": str(folder / "run"),
        "MILVUSCONF": str(folder / "configs"),
        "LD_LIBRARY_PATH": f"{binaries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
    }
    log = folder / "logs" / "milvus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _DIE_WITH_PARENT, str(binaries / "milvus"), "run", "standalone"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, f"http://127.0.0.1:{metrics}/healthz", log)
            yield f"http://127.0.0.1:{chosen['proxy_port']}"
        finally:
            process.kill()
            process.wait()


def _unpacked() -> Path:
    """The folder with the binary and its libraries, unpacked once per user."""
    from milvus import __version__, _initialize_data_files

    cache = Path(tempfile.gettempdir()) / f"ragtrial-tests-milvus-{__version__}-{os.getuid()}"
    ready = cache / "ready"
    if not ready.exists():
        with tempfile.TemporaryDirectory(dir=cache.parent, prefix=cache.name) as staging:
            _initialize_data_files(staging)
            (Path(staging) / "ready").touch()
            with contextlib.suppress(OSError):  # another process was faster
                Path(staging).rename(cache)
                Path(staging).mkdir()
    return cache / "bin"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _etcd_config(folder: Path, client: int, peer: int) -> str:
    return (
        f"name: default\ndata-dir: {folder}/data/etcd.data\n"
        f"listen-client-urls: http://127.0.0.1:{client}\nadvertise-client-urls: http://127.0.0.1:{client}\n"
        f"listen-peer-urls: http://127.0.0.1:{peer}\ninitial-advertise-peer-urls: http://127.0.0.1:{peer}\n"
        f"initial-cluster: default=http://127.0.0.1:{peer}\n"
    )


def _edit(config: Path, etcd: Path) -> None:
    """Point to etcd's configuration, and look for work ten times as often, for tests wait on that and not on the work."""
    text = config.read_text(encoding="utf-8")
    for old, new in (
        ("  use:\n    embed: true", f"  config:\n    path: {etcd}\n  use:\n    embed: true"),
        ("  checkInterval: 1000", "  checkInterval: 100\n  checkSegmentInterval: 100\n  checkChannelInterval: 100"),
        ("  distPullInterval: 500", "  distPullInterval: 50"),
        ("  timeTickInterval: 200", "  timeTickInterval: 50"),
    ):
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the configuration of this version of Milvus"
        text = text.replace(old, new)
    config.write_text(text, encoding="utf-8")


def _wait(process: "subprocess.Popen[bytes]", health: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=5) as answer:  # noqa: S310 (our own server)
            if b"OK" in answer.read():
                return
        time.sleep(0.1)
    raise RuntimeError(f"the Milvus server did not start: {log.read_text(errors='replace')[-2000:]}")
