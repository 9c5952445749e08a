"""Who may read what: the rsync daemon's files, the sites' passwords, and what a site's operator is told."""
