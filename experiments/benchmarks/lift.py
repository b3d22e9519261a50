"""Lift of the fine-tuned model over its base on public data sets, each with its interval: the whole suite, from training to verdict.

Trains where the registry has no model yet, so the first run takes some minutes on 2 cores, and a second one seconds.
"""

import argparse
import json
import sys
from pathlib import Path

from measuring import REPOSITORY, data_set

from ragtrial.cli.experiments import evaluate_prepared
from ragtrial.cli.terminal import console
from ragtrial.report.json_report import as_json
from ragtrial.settings import read_settings
from ragtrial.suite.folders import output_folder
from ragtrial.suite.preparing import prepare

SHOWN = ("R@1", "R@5", "R@10", "RR@10", "nDCG@10")


def main() -> None:
    """Evaluate each set and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["covidqa", "medquad"], help="covidqa, medquad, pubmedqa [default: covidqa medquad]")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "reports")
    arguments = parser.parse_args()
    rows = ["| set | metric | baseline | custom | difference [95 % interval] | relative | BM25 | n |", "|---|---|---|---|---|---|---|---|"]
    for name in arguments.sets:
        data_set(name)
        prepared = prepare(REPOSITORY / "experiments" / f"{name}.yaml", settings=read_settings())
        outcome = evaluate_prepared(
            prepared, output_folder(arguments.output / prepared.experiment.name), resume=True, training=True, quiet=False
        )
        print(f"{name}: {json.loads(as_json(outcome.content))['verdict']['sentence']}", file=sys.stderr)
        for comparison in sorted(
            (c for c in outcome.analysis.comparisons if c.metric.name in SHOWN), key=lambda c: SHOWN.index(c.metric.name)
        ):
            effect, bm25 = comparison.effect, comparison.references.get("bm25")
            if effect is None or comparison.baseline.mean is None or comparison.custom.mean is None:
                rows.append(f"| {name} | {comparison.metric.name} | no effect: {comparison.no_effect} | | | | | {comparison.n_scored} |")
                continue
            relative = "" if effect.relative is None else f"{effect.relative:+.1%}"
            rows.append(
                f"| {name} | {comparison.metric.name} | {comparison.baseline.mean:.4f} | {comparison.custom.mean:.4f} "
                f"| {effect.estimate:+.4f} [{effect.low:+.4f}, {effect.high:+.4f}] | {relative} | {'' if bm25 is None else f'{bm25:.4f}'} "
                f"| {comparison.n_scored} |"
            )
    console().print("\n".join(rows), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
