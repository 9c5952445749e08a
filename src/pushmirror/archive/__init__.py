"""What a Debian-style archive is: bytes in, values out, no input or output of its own."""
