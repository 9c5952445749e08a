"""What differs between our tree and upstream's: the strategies, and which one is taken."""
