"""archvsync's commands by their old names: arguments, environment and files become our model.

Arguments, logs, mails and exit codes are those of ftpsync(1) and runmirrors(1); the runner and the push
engine do the work.
"""
