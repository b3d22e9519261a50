"""Run one fuzzer: `python tests/fuzz/fuzz.py TARGET [libFuzzer's options] [folders]`; `make fuzz SECONDS=60` runs each of them for so long.

What is found is written to `crash-*`: mend it, and keep the file in `tests/fuzz/corpus/TARGET` under a name that says what it was.
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
_COVERED = (
    "ragtrial.formats",
    "ragtrial.preparation",
    "ragtrial.llm",
    "ragtrial.scoring",
    "ragtrial.finetuning.registry",
    "ragtrial.domain",
    "ragtrial.api.wire",
    "ragtrial.suite.importing",
)


def main() -> None:
    """Fuzz until libFuzzer's `-max_total_time` is over, or something is found."""
    name = sys.argv[1]
    sys.path[:0] = [str(HERE), str(HERE.parent.parent / "platform")]
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=list(_COVERED)):
        from targets import TARGETS

    def one(data: bytes) -> None:
        TARGETS[name](bytes(data))

    # libFuzzer writes what it finds new into the first folder that it is given
    folders = [each for each in sys.argv[2:] if not each.startswith("-")] or [tempfile.mkdtemp(), str(HERE / "corpus" / name)]
    options = [each for each in sys.argv[2:] if each.startswith("-")]
    atheris.Setup([sys.argv[0], *options, *folders], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
