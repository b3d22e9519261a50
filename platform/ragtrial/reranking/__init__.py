"""A second look at what a search found: cross-encoders, endpoints, and the order that they make."""
