"""Make the secrets of the compose file that are missing: `python deploy/make_secrets.py [FOLDER]`. What is there is left as it is."""

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "secrets"


def password() -> str:
    """192 bits in characters that need no quoting anywhere."""
    return secrets.token_hex(24)


def api_key() -> str:
    """As `ragtrial keys create` makes them."""
    return f"rt_{secrets.token_hex(5)}_{secrets.token_hex(32)}"


def milvus_settings(minio: str, root: str) -> str:
    """Milvus reads this over its own milvus.yaml."""
    return (
        f'minio:\n  accessKeyID: milvus\n  secretAccessKey: "{minio}"\n'
        f'common:\n  security:\n    authorizationEnabled: true\n    defaultRootPassword: "{root}"\n'
    )


def make(folder: Path) -> list[str]:
    """Make what is missing; the names of what was made."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    made: list[str] = []

    def kept(name: str, value: Callable[[], str]) -> str:
        path = folder / name
        if not path.exists():
            half = folder / f".{name}.{os.getpid()}"
            half.write_text(value(), encoding="utf-8")
            half.chmod(0o444)
            half.replace(path)
            made.append(name)
        return path.read_text(encoding="utf-8").strip()

    kept("postgres-password", password)
    minio = kept("minio-password", password)
    token = kept("milvus-token", lambda: f"root:{password()}")
    kept("milvus-user.yaml", lambda: milvus_settings(minio, token.removeprefix("root:")))
    kept("key-pepper", lambda: secrets.token_hex(32))
    kept("operator-key", api_key)
    kept("metrics-key", api_key)
    kept("grafana-password", password)
    kept("openai-api-key", str)
    return made


if __name__ == "__main__":
    for name in make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        sys.stdout.write(f"made deploy/secrets/{name}\n")
