"""The files of Debian's archvsync (ftpsync, runmirrors) as values of our model.

    places ─▶ variables (evaluated by bash) ─┬─▶ ftpsync ─────▶ Ftpsync
                                             └─▶ runmirrors ──▶ Runmirrors

For the old commands (archvsync_commands/) and for `pushmirror import` (importing/).
"""
