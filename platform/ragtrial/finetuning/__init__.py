"""Making the custom model: pairs, leakage, training, and the registry of what was made."""
