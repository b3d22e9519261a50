"""The environment, read here and nowhere else."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment decides.

    Attributes:
        environment: The variables that experiment files may name for secrets (`api_key_env`, `milvus_token_env`).
        registry: `RAGTRIAL_REGISTRY`, the model registry of commands that take no experiment file.
        torch_threads: `RAGTRIAL_TORCH_THREADS`, threads of one forward pass; None leaves torch's own choice.
        key_pepper: `RAGTRIAL_KEY_PEPPER`, what digests of API keys are made with; None: the file `key-pepper`.
        otlp_endpoint: `OTEL_EXPORTER_OTLP_ENDPOINT`, where traces are sent; None: nowhere.
        capture_content: `RAGTRIAL_CAPTURE_CONTENT=1`, write texts of queries and answers into traces.
        serve: `RAGTRIAL_SERVE`, what `ragtrial serve` tells its workers: JSON.
        board: `RAGTRIAL_BOARD`, what `ragtrial dashboard` tells its pages: JSON.
    """

    environment: Mapping[str, str]
    registry: str
    torch_threads: int | None
    key_pepper: str | None = None
    otlp_endpoint: str | None = None
    serve: str | None = None
    board: str | None = None
    capture_content: bool = False

    def secret(self, name: str) -> str | None:
        """The value of the environment variable `name`, or None where it is unset or empty."""
        return self.environment.get(name) or None


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process.

    Args:
        environment: Instead of `os.environ`, for tests.
    """
    variables = dict(os.environ if environment is None else environment)
    threads = variables.get("RAGTRIAL_TORCH_THREADS", "")
    return Settings(
        environment=variables,
        registry=variables.get("RAGTRIAL_REGISTRY", ".ragtrial/models"),
        torch_threads=int(threads) if threads.isdigit() and int(threads) > 0 else None,
        key_pepper=variables.get("RAGTRIAL_KEY_PEPPER") or None,
        otlp_endpoint=variables.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None,
        serve=variables.get("RAGTRIAL_SERVE") or None,
        board=variables.get("RAGTRIAL_BOARD") or None,
        capture_content=variables.get("RAGTRIAL_CAPTURE_CONTENT", "").lower() in ("1", "true", "yes"),
    )
