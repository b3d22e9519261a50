"""Drift after a model went live: what is compared, when an alert is raised and cleared, and how it is delivered."""
