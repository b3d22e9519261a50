"""Trials to scores: rankings against judgments, answers against references and sources, and what the run itself tells."""
