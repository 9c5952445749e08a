"""Sites as they are named on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `pushmirror --help` must not wait for these
    from pushmirror.config.model import Config, Site


def site_named(config: Config, name: str) -> Site:
    """One site of the configuration; UsageError names the others when there is none."""
    from pushmirror.config.explain import did_you_mean
    from pushmirror.errors import UsageError
    from pushmirror.status.words import listed

    if name not in config.sites:
        raise UsageError(
            f"there is no site {name!r} beside {config.source}{did_you_mean(name, config.sites)}",
            hint=f"sites there: {listed(list(config.sites)) or 'none'}",
        )
    return config.sites[name]
