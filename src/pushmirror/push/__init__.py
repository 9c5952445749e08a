"""Wake sites, and be woken: what is said over ssh. (The push server itself is not here yet.)"""
