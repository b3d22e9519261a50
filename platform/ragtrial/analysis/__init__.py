"""From scores and the plan to the verdict: the rules of `docs/statistics.md`, and nothing else."""
