"""Rsync access for sites: the daemon's files, passwords, and the setup instructions for a site's operator."""
