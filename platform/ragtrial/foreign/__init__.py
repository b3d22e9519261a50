"""Retrievers and chains of other libraries (LangChain, LlamaIndex, a team's own code) behind `contracts.Retriever`."""
