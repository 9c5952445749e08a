"""The campaign: what pushmirror promises, attacked at random (`./run faults`; docs/promises.md)."""
