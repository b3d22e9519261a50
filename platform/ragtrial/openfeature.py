"""The split for other programs, as an OpenFeature provider."""
