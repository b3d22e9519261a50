"""Query texts without personal data."""
