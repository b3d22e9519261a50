"""The packages of this environment as a CycloneDX 1.6 bill of materials: `make sbom` writes sbom.json. No network is asked."""

import re
import sys
from importlib import metadata
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL


def bill() -> Bom:
    """Every package that constraints.txt pins and that is installed here, and ragtrial itself as what depends on them."""
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", Path("constraints.txt").read_text("utf-8"), re.MULTILINE)
    bom = Bom()
    bom.metadata.component = Component(name="ragtrial", version=metadata.version("ragtrial"), type=ComponentType.APPLICATION)
    for name in sorted(pinned, key=str.lower):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        bom.components.add(
            Component(name=name, version=version, type=ComponentType.LIBRARY, purl=PackageURL("pypi", None, name.lower(), version))
        )
    bom.register_dependency(bom.metadata.component, bom.components)
    return bom


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(JsonV1Dot6(bill()).output_as_string(indent=1) + "\n", "utf-8")
