"""Real servers that tests start themselves, and the fixtures that hand them out."""
