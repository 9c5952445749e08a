"""rsync: asking upstream, listing and fetching."""
