"""Whether a custom embedding is worth trying, from the baseline alone; and what a model is like beside its retrieval."""
