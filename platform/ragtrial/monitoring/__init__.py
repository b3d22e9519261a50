"""Whether what a model was made for still holds: drift of queries and documents, alerts that don't cry wolf."""
