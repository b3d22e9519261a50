"""ragtrial: does a custom embedding model make our RAG system better than the baseline, enough to be worth it?"""

__version__ = "0.1.0"
