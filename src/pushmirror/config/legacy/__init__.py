"""The files of archvsync, read into our model.

    places ─▶ reading (by system/bash) ─▶ Variables ─┬─▶ ftpsync ──────────────▶ Ftpsync
              preset: what the script has set before └─▶ runmirrors, mirror_lines ▶ Runmirrors

Both are for compat, the old commands, and for `pushmirror import` (importing/).
"""
