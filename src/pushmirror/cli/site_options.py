"""Options that several of the site commands have."""

from __future__ import annotations

import click

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
old_ssh_option = click.option(
    "--old-ssh", is_flag=True, help="For an sshd before OpenSSH 7.2, without `restrict`."
)
