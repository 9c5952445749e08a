"""The variables of ftpsync.conf for the keys of our model, for messages of the old commands.

Keys are those of [archives.X] and of the sections that ftpsync.conf fills: [mirror], hooks, callback.
"""

from __future__ import annotations

VARIABLES = {
    # who the mirror is
    "name": "MIRRORNAME",
    "country": "INFO_COUNTRY",
    "location": "INFO_LOCATION",
    "sponsor": "INFO_SPONSOR",
    "maintainer": "INFO_MAINTAINER",
    "throughput": "INFO_THROUGHPUT",
    "running_on": "TRACEHOST",
    # the archive
    "path": "TO",
    "upstream": "RSYNC_HOST and RSYNC_PATH",
    "upstream.user": "RSYNC_USER",
    "upstream.host": "RSYNC_HOST",
    "upstream.port": "RSYNC_HOST, and --port in RSYNC_EXTRA",
    "upstream.path": "RSYNC_PATH",
    "upstream_name": "RSYNC_HOST",
    "password_file": "RSYNC_PASSWORD or --password-file",
    "proxy": "RSYNC_PROXY",
    "ssh_key": "the key that ssh takes by its ~/.ssh/config",
    "tls_ca": "RSYNC_SSL_CAPATH",
    "tls_method": "RSYNC_SSL_METHOD",
    "keyring": "PUSHMIRROR_KEYRING",
    "architectures": "ARCH_INCLUDE",
    "exclude_architectures": "ARCH_EXCLUDE",
    "filter": "EXCLUDE",
    "timeout": "--timeout in RSYNC_EXTRA",
    "connect_timeout": "--contimeout in RSYNC_EXTRA",
    "bandwidth_limit": "RSYNC_BW",
    "rsync": "RSYNC",
    "rsync_options": "RSYNC_EXTRA, RSYNC_OPTIONS",
    "update_in_progress.stale_after": "a day",
    "delete.max_files": "--max-delete",
    "delete.max_share": "the limit",
    "sync --allow-mass-delete": "raise --max-delete in RSYNC_OPTIONS2",
    # its hooks
    "before_sync": "HOOK1",
    "after_stage1": "HOOK2",
    "after_publish": "HOOK3",
    "before_push": "HOOK4",
    "after_push": "HOOK5",
    # its callback
    "host": "CALLBACKHOST",
    "user": "CALLBACKUSER",
    "key": "CALLBACKKEY",
    # the state
    "state.directory": "PUSHMIRROR_STATE",
}
