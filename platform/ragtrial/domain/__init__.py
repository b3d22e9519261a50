"""The nouns of ragtrial: frozen, keyword-only dataclasses on the standard library and numpy alone."""
