"""`pushmirror check`: findings, each with what to do."""
