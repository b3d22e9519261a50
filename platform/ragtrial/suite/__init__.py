"""The main job, step by step: prepare, train, index, evaluate, conclude. What the command line does, callable from Python."""
