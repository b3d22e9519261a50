"""The one way to a language model: requests, cache, prices, and the gate that every call goes through."""
