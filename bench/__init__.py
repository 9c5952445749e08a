"""Measurements beside the real ftpsync; `python -m bench --help` says how."""
