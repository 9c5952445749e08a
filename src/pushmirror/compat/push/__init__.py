"""What a call of the old runmirrors does, once its command line is read (`runmirrors.py`)."""
