"""Where passages are searched: Milvus, exact search in memory (the oracle), and BM25 (the reference line)."""
