"""`ragtrial selftest`: faults that ruin experiments, planted into a simulated one on the user's own stores; what catches each of them."""
