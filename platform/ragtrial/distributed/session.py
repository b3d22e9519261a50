"""Ray, joined or started for the time of one command."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragtrial.domain.execution import RaySpec
from ragtrial.errors import MissingExtraError, SetupError

_LOCAL = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # off: Ray's processes listen on 127.0.0.1 alone, as they do on a Mac
    "RAY_AUTH_MODE": "token",  # Ray's own choice for a Ray that is started here; said aloud, so that it doesn't tell of it
}
_ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_BACKEND_LOG_LEVEL": "fatal"}
_LATE = "timed out"
"""What Ray says, in exceptions of no kind of their own, where a node ("timed out during startup") or its GCS ("Timed out waiting for file
.../gcs_server_port_...") does not come up in time."""
_BLOCK_BYTES = 1 << 20
"""What a task hands on at a time: small, so that a shard is spread over the actors and progress is seen while it lasts."""


@contextlib.contextmanager
def ray_session(spec: RaySpec) -> Iterator[None]:
    """Ray as the specification says; one that this process has joined already is used and left running.

    Raises:
        MissingExtraError: Ray is not installed.
        SetupError: The cluster can't be reached, or Ray can't be started here.
    """
    if "ray" not in sys.modules:  # Ray reads them when it is imported; whoever did that before has decided
        for name, value in {**_ALWAYS, **({} if spec.address else _LOCAL)}.items():
            os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(package="ray", extra="ray", purpose="execution: ray") from error
    _quiet()
    joined = ray.is_initialized()
    if not joined:
        _join(spec)
    context = ray.data.DataContext.get_current()
    before = context.target_max_block_size, context.enable_progress_bars
    context.target_max_block_size, context.enable_progress_bars = _BLOCK_BYTES, False
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            yield  # Ray prints traces of what it tries again to standard output, where a command's JSON belongs
    finally:
        context.target_max_block_size, context.enable_progress_bars = before
        if not joined:
            ray.shutdown()


def _join(spec: RaySpec) -> None:
    options: dict[str, Any] = {"address": spec.address or "local"}
    if spec.address is None:
        options |= {"include_dashboard": False, "num_cpus": spec.local_cpus}
        if spec.object_store_mb is not None:
            options["object_store_memory"] = spec.object_store_mb << 20
    try:
        try:
            _init(options)
        except Exception as error:
            if spec.address is not None or _LATE not in str(error).lower():
                raise
            _init(options)  # now and then one of Ray's processes does not come up within the 30 s for which it waits; the next ones do
    except Exception as error:  # where a node takes too long to start, Ray raises Exception itself
        said = " ".join(str(error).split())[:300]
        if spec.address is None:
            raise SetupError(
                f"Ray can't be started here ({said}): see ray.local_cpus and ray.object_store_mb, or use execution: local"
            ) from error
        raise SetupError(
            f"the Ray cluster at {spec.address!r} can't be joined ({said}): check ray.address, that Ray's version and Python's are the same there, "
            "or use execution: local"
        ) from error


def _init(options: Mapping[str, Any]) -> None:
    import ray

    with _silenced():
        ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=True)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Standard error as the operating system has it, put away: native code of Ray and gRPC says there that it started, forked, and set its level."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _quiet() -> None:
    """Ray's notes and traces off the terminal: a failure that counts reaches the caller as an error."""
    for name in ("ray", "ray.data", "ray.tune", "ray.rllib", "ray.train", "ray.serve"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
