"""Unit to arm: a pure hash."""
