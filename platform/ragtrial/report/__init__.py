"""What was concluded, said in every form: terminal, HTML, Markdown, JSON, JUnit, Parquet."""
