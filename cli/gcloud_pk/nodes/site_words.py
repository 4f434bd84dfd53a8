"""What a site says of its hosts, for checks to name: the section `site` of facts, and `$name` in expectations. Pure.

`$name` is a whole text; within a longer one (a pattern), `${name}` is a single word of the site's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gcloud_pk.model.site import Site
from gcloud_pk.nodes.expectation import Expectation, Term
from gcloud_pk.nodes.inventory import fingerprint

SECTION = "site"

_WHOLE = re.compile(r"\$([a-z_]+)")
_WITHIN = re.compile(r"\$\{([a-z_]+)\}")

NAMES = frozenset(
    {"admin", "audit", "ssh_port", "time_servers", "log_host", "ssh_allow_from", "admin_keys", "audit_keys", "networks"}
)
"""What a check may name: `site.admin` as a fact, `$admin` in an expectation."""


def about(site: Site) -> dict[str, Any]:
    """Return the section `site`: texts, numbers, lists of texts; an empty list where the site says nothing."""
    ssh = site.spec.ssh
    return {
        "admin": ssh.user,
        "audit": ssh.audit_user,
        "ssh_port": ssh.port,
        "time_servers": [str(one) for one in site.spec.time_servers],
        "log_host": [site.spec.log_host] if site.spec.log_host else [],
        "ssh_allow_from": [str(one) for one in ssh.allow_from],
        "networks": _networks(site),
        "admin_keys": [fingerprint(key) for key in ssh.keys],
        "audit_keys": [fingerprint(key) for key in ssh.audit_keys],
    }


def _networks(site: Site) -> list[str]:
    """Return the networks of the clusters' nodes and pods, and the addresses of the hosts."""
    known = [one.networks for one in site.spec.clusters if one.networks]
    ranges = {str(network) for one in known for network in (one.nodes, one.pods) if network}
    return sorted(ranges | {str(host.address) for host in site.spec.hosts})


def named(expectation: Expectation) -> frozenset[str]:
    """Return the names that an expectation uses, without their sign."""
    return frozenset(name for term in expectation.terms for name in _named(term.argument))


def bound(expectation: Expectation, words: Mapping[str, Any]) -> Expectation:
    """Return an expectation with the site's words in place of `$names`. A list goes in item by item.

    A name that the words lack stays as it is written, and meets nothing.
    """
    if not named(expectation):
        return expectation
    return Expectation(tuple(Term(term.operator, _bound(term.argument, words)) for term in expectation.terms))


def _named(argument: Any) -> frozenset[str]:
    if isinstance(argument, str):
        whole = _WHOLE.fullmatch(argument)
        return frozenset({whole[1]} if whole else _WITHIN.findall(argument))
    if isinstance(argument, Expectation):
        return named(argument)
    several = argument.values() if isinstance(argument, Mapping) else argument if isinstance(argument, tuple) else ()
    return frozenset(name for one in several for name in _named(one))


def _bound(argument: Any, words: Mapping[str, Any]) -> Any:
    if isinstance(argument, str):
        if whole := _WHOLE.fullmatch(argument):
            return words.get(whole[1], argument)
        return _WITHIN.sub(lambda match: re.escape(str(words.get(match[1], match[0]))), argument)
    if isinstance(argument, Expectation):
        return bound(argument, words)
    if isinstance(argument, Mapping):
        return {name: _bound(one, words) for name, one in argument.items()}
    if isinstance(argument, tuple):
        made = [_bound(one, words) for one in argument]
        return tuple(item for one in made for item in (one if isinstance(one, list) else [one]))
    return argument
