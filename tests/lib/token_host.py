# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with keys on a token: module private_key and csr as a task calls them, and the token seen by other tools."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import tokens
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import Receipt
from ansible_collections.keyops.lifecycle.plugins.modules import csr, private_key

SEALED = "cd" * 32


@dataclass
class TokenHost:
    """One token, and the folder of one host's state.

    Attributes:
        token: the label of the token, as it stands in a URI.
    """

    store: tokens.Store
    token: str
    state: Path

    @property
    def pin(self) -> str:
        """The user PIN."""
        return self.store.pins["pin"]

    def uri(self, label: str, **parts: str) -> str:
        """The reference of a key on the token."""
        return self.store.uri(self.token, object=label, **parts)

    def key(self, label: str, **options: object) -> dict:
        """One item of ``keys`` of private_key: an EC key that agrees, unless the options say otherwise."""
        item = {"key": self.uri(label), "usage": "key_agreement", "algorithm": "ec-p256", "pin": self.pin, **options}
        return {name: value for name, value in item.items() if value is not None}

    def params(self, *items: dict, module: object = private_key) -> dict:
        """The module's options as a flow gets them."""
        validated = ArgumentSpecValidator(module.ARGUMENT_SPEC).validate(  # type: ignore[attr-defined]
            {"keys": list(items), "state_dir": str(self.state)}
        )
        assert not validated.error_messages, validated.error_messages
        return dict(validated.validated_parameters)

    def run(self, *items: dict, check: bool = False, step: str | None = None, relay: object = None) -> dict:
        """What private_key's flow returns, or its error."""
        return self.store.call("provision_anywhere", check, step, relay, **self.params(*items))

    def csr(self, *items: dict, check: bool = False) -> dict:
        """What csr's flow returns, or its error."""
        return self.store.call("certificate_request_anywhere", check, **self.params(*items, module=csr))

    def archived(self, row: dict) -> None:
        """Pretend that the key was archived."""
        receipt = Receipt(row["key_id"], row["usage"], SEALED, 1, "ef" * 32)
        _receipts.write_receipts(str(self.state), [receipt])

    def tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """pkcs11-tool, logged in to the token."""
        command = ["pkcs11-tool", "--module", self.store.library, "--token-label", self.token]
        command += ["--login", "--pin", self.pin]
        return self.store.run([*command, *arguments])

    def certutil(self) -> str:
        """The private keys of NSS's database, as its own tool lists them; pkcs11-tool cannot start it."""
        pins = str(self.store.folder / "pin")
        done = self.store.run(["certutil", "-K", "-d", f"sql:{self.store.folder}", "-f", pins])
        return done.stdout

    def seen(self) -> dict[str, dict[str, str]]:
        """Label to the ID of its halves, as pkcs11-tool sees them: ``{"mail": {"Private": "01", "Public": "01"}}``.

        Two halves of one kind under one label are an error.
        """
        found: dict[str, dict[str, str]] = {}
        done = self.tool("--list-objects")
        assert done.returncode == 0, done.stderr
        kind = label = ""
        for line in done.stdout.splitlines():
            name, dummy, value = line.strip().partition(":")
            if " Key Object" in line:
                kind, label = line.split()[0], ""
            elif name == "label":
                label = value.strip()
            elif name == "ID":
                assert kind not in found.setdefault(label, {}), f"two {kind} halves of {label}"
                found[label][kind] = value.strip()
        return found


def softhsm(folder: Path) -> TokenHost:
    """SoftHSM with the token ``ops``."""
    store = tokens.softhsm(folder / "hsm")
    store.pins = tokens.new_pins()
    command = ["softhsm2-util", "--init-token", "--free", "--label", "ops", "--so-pin", store.pins["so_pin"]]
    assert store.run([*command, "--pin", store.pins["pin"]]).returncode == 0
    return TokenHost(store, "ops", folder / "state")


def nss(folder: Path) -> TokenHost:
    """NSS's softokn."""
    return TokenHost(tokens.nss(folder / "nss"), "NSS%20Certificate%20DB", folder / "state")
