"""docker-compose.yml as data: what a service is told, with variables filled in, as Docker Compose would."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A compose file.

    Attributes:
        folder: That it lies in.
        document: It, with its variables filled in.
    """

    folder: Path
    document: Mapping[str, Any]

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.document["services"]
        return found

    @property
    def jobs(self) -> frozenset[str]:
        """Services that end, and that others wait for."""
        waited = [needs for service in self.services.values() for needs in service.get("depends_on", {}).items()]
        return frozenset(name for name, how in waited if how["condition"] == "service_completed_successfully")

    def environment(self, name: str) -> dict[str, str]:
        """What the service's environment files and its own section say."""
        service = self.services[name]
        files = service.get("env_file", [])
        found: dict[str, str] = {}
        for file in [files] if isinstance(files, str) else files:
            lines = (self.folder / file).read_text(encoding="utf-8").splitlines()
            found |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        return found | {key: str(value) for key, value in service.get("environment", {}).items()}

    def secrets(self, name: str) -> frozenset[str]:
        given = self.services[name].get("secrets", [])
        return frozenset(one if isinstance(one, str) else one["source"] for one in given)


def read(path: Path, **variables: str) -> Composed:
    """The compose file, where the environment holds `variables` alone."""

    def filled(found: re.Match[str]) -> str:
        name, how, rest = found.groups()
        if variables.get(name):
            return variables[name]
        assert how != ":?", f"{name} is required"
        return rest or ""

    return Composed(folder=path.parent, document=yaml.safe_load(_VARIABLE.sub(filled, path.read_text(encoding="utf-8"))))
