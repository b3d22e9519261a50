"""Text to unit vectors: local sentence-transformers models, endpoints, a fake that behaves, and the cache in front of them."""
