"""What an assignment costs beside one bare SHA-256 with a modulo, in the same process; the goal is 20 microseconds.

python experiments/benchmarks/splitting.py
"""

import json
import statistics
from collections.abc import Callable
from hashlib import sha256

from measuring import timed

from ragtrial.formats.experiment import parse_experiment
from ragtrial.splitting import Split, initial_state

UNITS = [f"user-{number}" for number in range(50_000)]
REPEATS = 7
LAYERED = {
    "holdout": 0.1,
    "layer": {"name": "answers", "first": 0, "end": 9000},
    "deny": [f"bot-{number}" for number in range(1000)],
    "overrides": {"tester": "custom"},
    "traffic": {"share": 0.8},
}


def split_of(live: dict[str, object]) -> Callable[[], object]:
    """Assigns all units."""
    embedding = {"provider": "hashing", "dimensions": 32}
    primary = {"name": "nDCG@10", "min_effect": 0.01}
    content = {
        "name": "tariffs",
        "data": {"format": "beir", "path": "corpus"},
        "arms": [
            {"name": "baseline", "role": "control", "embedding": {**embedding, "model": "a"}},
            {"name": "custom", "role": "treatment", "embedding": {**embedding, "model": "b"}},
        ],
        "metrics": {"primary": primary},
        "live": {"metrics": {"primary": primary}, **live},
    }
    experiment = parse_experiment(json.dumps(content))
    split, state = Split.of(experiment), initial_state(experiment)
    return lambda: [split.assign(unit, state) for unit in UNITS]


def bare() -> object:
    """Only the bucket."""
    return [int.from_bytes(sha256(f"tariffs.{unit}".encode()).digest()[:8], "big") % 10_000 for unit in UNITS]


def main() -> None:
    """Print the microseconds of one assignment and their ratio to a bare hash; fail above the goal."""
    for name, live in (("plain split", {}), ("with holdout, layer, lists", LAYERED)):
        assign = split_of(live)
        runs = [(timed(assign), timed(bare)) for _ in range(REPEATS)]
        micros = statistics.median(own for own, _ in runs) / len(UNITS) * 1e6
        hashes = [own / theirs for own, theirs in runs]
        print(
            f"{name}: {micros:.1f} microseconds an assignment (goal: below 20); median ratio to a bare hash "
            f"{statistics.median(hashes):.2f} (from {min(hashes):.2f} to {max(hashes):.2f})"
        )
        assert micros < 20


if __name__ == "__main__":
    main()
