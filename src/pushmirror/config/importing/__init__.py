"""What `pushmirror import` makes of archvsync's files and the rsync daemon's: a configuration, and its text.

ftpsync, runmirrors (legacy/) ───────────────┐
rsyncd ─▶ offered ─▶ modules ────────────────┼─▶ merging ─▶ Config, logins, warnings ─▶ render
secrets_file ─▶ logins ── site_lines ────────┘                  authorized_keys: lines to exchange
"""
