"""A report about finished runs: one HTML page that needs no other file, and the same as Markdown."""
