# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Argument specs, documentation, action groups, actions and role defaults agree."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGE = "ansible_collections.keyops.lifecycle.plugins."
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
INTERNAL = {"step", "relay"}


def documented(name: str) -> dict:
    """The module's options with those of its fragments."""
    found = yaml.safe_load(importlib.import_module(f"{PACKAGE}modules.{name}").DOCUMENTATION)
    options = dict(found.get("options", {}))
    for fragment in found.get("extends_documentation_fragment", []):
        short, _dot, variable = fragment.removeprefix("keyops.lifecycle.").partition(".")
        fragments = importlib.import_module(f"{PACKAGE}doc_fragments.{short}").ModuleDocFragment
        text = getattr(fragments, variable.upper() or "DOCUMENTATION")
        options.update(yaml.safe_load(text).get("options") or {})
    return options


def check(spec: dict, options: dict, where: str) -> None:
    assert set(spec) == set(options), where
    for name, one in spec.items():
        there = options[name]
        for member, default in (("type", "str"), ("elements", None), ("choices", None), ("default", None)):
            assert one.get(member, default) == there.get(member, default), f"{where}.{name}: {member}"
        assert one.get("required", False) == there.get("required", False), f"{where}.{name}: required"
        check(one.get("options", {}), there.get("suboptions", {}), f"{where}.{name}")


@pytest.mark.parametrize("name", MODULES)
def test_spec_and_documentation_agree(name: str) -> None:
    spec = importlib.import_module(f"{PACKAGE}modules.{name}").ARGUMENT_SPEC
    options = {option: text for option, text in documented(name).items() if option not in INTERNAL}
    check(spec, options, name)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_its_action_with_the_same_spec(name: str) -> None:
    action = importlib.import_module(f"{PACKAGE}action.{name}").ActionModule
    assert action.argument_spec is importlib.import_module(f"{PACKAGE}modules.{name}").ARGUMENT_SPEC


def test_action_groups_hold_exactly_the_modules() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    assert sorted(groups["all"]) == MODULES
    with_vault = [
        name for name in MODULES if "vault" in importlib.import_module(f"{PACKAGE}modules.{name}").ARGUMENT_SPEC
    ]
    assert sorted(groups["vault"]) == with_vault


@pytest.mark.parametrize("name", MODULES)
def test_secrets_are_marked(name: str) -> None:
    """Options that may hold a passphrase or a vault's credential are no_log, and nothing else is."""
    credentials = {"token", "role_id", "secret_id", "jwt", "password"}

    def walk(spec: dict, where: str) -> None:
        for option, one in spec.items():
            secret = one["type"] == "str" and (
                "passphrase" in option or option in credentials or option.split("_")[-1] == "pin"
            )
            assert bool(one.get("no_log")) == secret, f"{where}.{option}"
            walk(one.get("options", {}), f"{where}.{option}")

    walk(importlib.import_module(f"{PACKAGE}modules.{name}").ARGUMENT_SPEC, name)


@pytest.mark.parametrize("role", ROLES)
def test_role_defaults_and_argument_specs_agree(role: str) -> None:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text())
    assert set(defaults) <= set(options)
    for name, default in defaults.items():
        if "{{" not in str(default):
            assert options[name].get("default") == default, f"{role}: {name}"
        assert not options[name].get("required"), f"{role}: {name} has a default and is required"
    for name, option in options.items():
        assert "default" not in option or name in defaults, f"{role}: {name}"


def test_options_that_two_roles_share_are_the_same() -> None:
    seen: dict[str, dict] = {}
    for role in ROLES:
        specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())
        for name, option in specs["argument_specs"]["main"]["options"].items():
            assert seen.setdefault(name, option) == option, f"{role}: {name}"
