"""Which files the signed indices of recent generations refer to, and whether they are here and right."""
