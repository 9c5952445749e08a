"""`pushmirror import`: configuration of ftpsync, runmirrors and rsyncd into ours."""
