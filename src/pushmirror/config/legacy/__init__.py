"""The files of archvsync and of the rsync daemon beside it, read into our model.

ftpsync.conf ──────┐                                       ┌──▶ compat: the old commands, as they were
runmirrors.conf ───┼─▶ variables ─▶ Ftpsync, Runmirrors ───┤
runmirrors.mirror ─┤                + warnings             └──▶ pushmirror import: pushmirror.toml
rsyncd.conf, … ────┘
"""
