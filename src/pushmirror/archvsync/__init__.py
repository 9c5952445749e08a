"""The files of Debian's archvsync (ftpsync, runmirrors) as values of our model."""
