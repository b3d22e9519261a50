"""Files in and out: BEIR folders, TREC files, gold tables, experiment files. Every fault is reported with file, line and field."""
