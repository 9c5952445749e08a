"""The machine: processes, files, locks, the clock. Only here are subprocess, fcntl and ctypes imported."""
