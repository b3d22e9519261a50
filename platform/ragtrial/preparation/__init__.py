"""From raw files to a clean corpus: loading, cleaning, near-duplicates, personal data, splits, and the card that says what was done."""
