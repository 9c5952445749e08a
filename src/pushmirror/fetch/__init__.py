"""Ask upstream, list its tree and fetch files, by rsync."""
