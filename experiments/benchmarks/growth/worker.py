"""The process of one measurement: writes what it found as JSON to the file that it is told."""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(BENCHMARKS), str(BENCHMARKS.parents[1] / "tests")]


def main() -> None:
    """Measure one step at one size."""
    from growth.plan import Given

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("given", help="as JSON")
    parser.add_argument("found", type=Path)
    arguments = parser.parse_args()
    told = json.loads(arguments.given)
    given = Given(**{**told, "scratch": Path(told["scratch"])})
    if given.step in ("index", "store-hnsw", "store-ivf"):
        from growth import vector_steps

        measure = vector_steps.index if given.step == "index" else vector_steps.store
    elif given.step in ("evaluate", "ask"):
        from growth import query_steps

        measure = query_steps.evaluate if given.step == "evaluate" else query_steps.ask
    else:
        from growth import log_steps

        measure = {"log": log_steps.log, "import": log_steps.bring_in, "analyse": log_steps.analyse, "dashboard": log_steps.dashboard}[
            given.step
        ]
    found = [dataclasses.asdict(each) for each in measure(given)]
    arguments.found.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
