"""Push sites: which triggers are due, sending them, and the words that ssh carries."""
