"""archvsync's commands by their old names: old argv, environment and files become our model, then our calls.

What each may be called with, logs, mails, and ends with is theirs (ftpsync(1), runmirrors(1)); what it does
in between is the hub's.
"""
