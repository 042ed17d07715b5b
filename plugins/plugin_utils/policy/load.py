# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads policies: a document from the user, and what it extends, become one frozen ``Policy``.

Rule 1 stands above every policy: ``archive`` of a usage that signs is ``never``. The schema takes no other value, and
what is read here has it even where no document says so.

Rules are replaced one by one, whole. Within a document those of ``all_usages`` come before those of a usage, so a
policy's own ``all_usages`` also replaces what its profile says of single usages. A null lifts an inherited rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import yaml

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import PolicyError
from ansible_collections.keyops.lifecycle.plugins.module_utils._options import USAGES
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import document
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy.model import Policy, Rule

PROFILES = ("default", "nist-sp800-57", "cnsa-2.0", "cabf-smime")

_FOLDER = Path(__file__).with_name("profiles")
_SIGNING = ("signature", "certificate_signing", "authentication")

#: Severity of what breaks a rule that names none.
_SEVERITY = {
    "algorithms": "high",
    "deprecated_algorithms": "low",
    "protection": "high",
    "archive": "high",
    "minimum_threshold": "high",
    "maximum_mode": "high",
}
_NEVER_ENFORCED = ("deprecated_algorithms",)

#: What set the rules of a document without a name: never the profile that it extends.
_NAMELESS = "the given policy, which has no name"

_RULE_1 = Rule(
    name="archive",
    value="never",
    source="keyops.lifecycle, rule 1 (a signing key is never archived)",
    severity="critical",
    enforced=True,
    origin="keyops.lifecycle",
)


def load(value: object, option: str = "policy") -> Policy:
    """The policy that a document is, with all that it extends.

    Args:
        value: the document, a dictionary; or the name of a built-in profile.
        option: name of the option, for messages.

    Raises:
        PolicyError: with every mistake and its place.
    """
    if isinstance(value, str):
        if _is_path(value):
            raise PolicyError(_not_read(value, option))
        value = {"extends": value}
    found = document.mistakes(value)
    if found:
        raise PolicyError(_told(option, found))
    return _resolved(value)  # type: ignore[arg-type]  # the schema has seen that it is a dictionary


def _is_path(text: str) -> bool:
    return text not in PROFILES and ("/" in text or text.endswith((".yml", ".yaml", ".json")))


def _not_read(path: str, option: str) -> str:
    """Files are Ansible's to read: it knows relative paths, Ansible Vault and templates."""
    profiles = ", ".join(PROFILES)
    return (
        f"{option}: give a dictionary, or the name of a built-in profile ({profiles}); a policy in a file is given as "
        f"\"{{{{ lookup('file', {path!r}) | from_yaml }}}}\""
    )


def _told(option: str, found: list[document.Mistake]) -> str:
    told = "; ".join(f"{option}{'.' if place else ''}{place}: {text}" for place, text in found)
    return f"{len(found)} mistakes: {told}" if found[1:] else told


@cache
def profile(name: str) -> Policy:
    """A built-in profile. Its document is not checked again: the tests have."""
    return _resolved(profile_document(name))


def profile_document(name: str) -> dict:
    """The document of a built-in profile, as it is written."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((_FOLDER / f"{name}.yml").read_text("utf-8"), Loader=loader)  # noqa: S506  # both are safe loaders


def _resolved(given: Mapping) -> Policy:
    base = profile(given["extends"]) if "extends" in given else None
    name = str(given.get("name") or _NAMELESS)
    own = list(_own_rules(given, name))
    rules = {usage: dict(base.rules[usage]) if base else {} for usage in (None, *USAGES)}
    for usage, rule_name, rule in own:
        if rule is None:
            rules[usage].pop(rule_name, None)
        else:
            rules[usage][rule_name] = rule
    for usage in _SIGNING:
        rules[usage].setdefault("archive", _RULE_1)
    told = given.get("name") or (f"{base.name}, with rules of its own" if base and own else base and base.name)
    origins = (*(base.origins if base else ()), *([name] if own or not base else []))
    return Policy(
        str(told or name), origins, MappingProxyType({usage: MappingProxyType(each) for usage, each in rules.items()})
    )


def _own_rules(given: Mapping, name: str) -> Iterator[tuple[str | None, str, Rule | None]]:
    """The rules of one document by usage, those of ``all_usages`` first."""
    default = str(given.get("source", name if name == _NAMELESS else f"policy {name}"))
    for rule_name, written in given.get("all_usages", {}).items():
        for usage in (None, *USAGES):
            yield usage, rule_name, _rule(rule_name, written, default, name)
    for usage, written_rules in given.get("usages", {}).items():
        for rule_name, written in written_rules.items():
            yield usage, rule_name, _rule(rule_name, written, default, name)


def _rule(name: str, written: object, source: str, origin: str) -> Rule | None:
    """A rule as it is written, a value or a dictionary; None when its value is null."""
    cited = written if isinstance(written, Mapping) else {"value": written}
    value = cited["value"]
    if value is None:
        return None
    return Rule(
        name=name,
        value=tuple(value) if isinstance(value, list) else value,
        source=str(cited.get("source", source)),
        severity=str(cited.get("severity", _SEVERITY.get(name, "medium"))),
        enforced=bool(cited.get("enforce", True)) and name not in _NEVER_ENFORCED,
        origin=origin,
        note=str(cited.get("note", "")),
    )
