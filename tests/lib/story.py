# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The product's processes in one Python process: hosts, agents and a controller without Ansible between them.

Everything that crosses from one to the other goes through JSON, as it does through Ansible. Certificates are made by
openssl. Molecule and the integration tests play the same story through Ansible and SSH.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import tokens
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography.hazmat.primitives import serialization

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import (
    approve,
    archive_anywhere,
    lift,
    provision_anywhere,
    recover,
    recover_data,
    request,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import read_private_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import signing_proof
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import (
    FlowResult,
    HostTask,
    digest_of,
)
from ansible_collections.keyops.lifecycle.plugins.modules import (
    data_recovery,
    freeze_lift,
    key_archive,
    key_recovery,
    private_key,
    recovery_approval,
    recovery_request,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import (
    ControllerTask,
    HostFailed,
    HostReply,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import (
    archiving,
    lifting,
    provisioning,
    recovering,
    recovering_data,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.signing_register import SigningKey
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

_MODULES = {
    "private_key": (private_key, provision_anywhere.run, provisioning.provision),
    "key_archive": (key_archive, archive_anywhere.run, archiving.archive),
    "recovery_request": (recovery_request, request.run, recovering.ask),
    "recovery_approval": (recovery_approval, approve.run, None),
    "freeze_lift": (freeze_lift, lift.run, None),
    "key_recovery": (key_recovery, recover.run, recovering.recover),
    "data_recovery": (data_recovery, recover_data.run, recovering_data.recover_data),
}


def openssl(*arguments: object, stdin: bytes = b"") -> bytes:
    """What openssl prints; raises when it fails."""
    found = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=False)
    assert found.returncode == 0, found.stderr.decode()
    return found.stdout


@dataclass
class Machine:
    """A host, or an agent's own machine: a folder and a name.

    Attributes:
        on_relay: called with (step, relay) before the relay reaches the flow, so that a test can play a bad vault.
        log_signing_key: path of the key that signs events.
        on_reply: called with (step, results, relay) before the reply reaches the controller, to play a bad host.
        store: the tokens of this machine; then each step runs in a process of its own, as on a host.
    """

    name: str
    folder: Path
    vault_path: Path
    calls: list = field(default_factory=list)
    on_relay: object = None
    on_reply: object = None
    log_signing_key: str | None = None
    store: tokens.Store | None = None

    def run(self, module: str, check_mode: bool = False, transport: str = "local", **options: object) -> dict:
        """Run a module as its action does; raises what the user would see as an error.

        Raises:
            KeyopsError: a HostFailed is turned back into its class.
        """
        described, flow, process = _MODULES[module]
        if "state_dir" in described.ARGUMENT_SPEC:
            options.setdefault("state_dir", str(self.folder / "state"))
        vault_options = options.pop("vault", {"backend": "sqlite", "path": str(self.vault_path)})
        validated = ArgumentSpecValidator(described.ARGUMENT_SPEC).validate({"vault": vault_options, **options})
        if validated.error_messages:
            raise OptionError("; ".join(validated.error_messages))
        params = validated.validated_parameters
        policy = params.pop("policy", None)

        def call(step: str | None, relay: object = None, predicting: bool = False, **changed: object) -> HostReply:
            self.calls.append(step)
            carried = json.loads(json.dumps(relay))
            if self.on_relay:
                carried = self.on_relay(step, carried)
            try:
                outcome = self._step(flow, HostTask({**params, **changed}, check_mode or predicting, step, carried))
            except KeyopsError as error:
                failed = HostFailed({"failed": True, "msg": str(error), "error_class": type(error).__name__})
                raise failed from error
            results, back = json.loads(json.dumps([outcome.results, outcome.relay]))
            assert digest_of(results, back) == digest_of(outcome.results, outcome.relay)
            if self.on_reply:
                results, back = self.on_reply(step, results, back)
            raw = {**outcome.extra, "changed": outcome.changed, "results": results, "warnings": outcome.warnings}
            return HostReply(outcome.changed, results, back, raw)

        signing_key = read_private_key(self.log_signing_key, None, "log") if self.log_signing_key else None
        vault = open_vault(params["vault"], check_mode, make=module in ("private_key", "key_archive"))
        try:
            actor = "tester@controller"
            task = ControllerTask(params, vault, check_mode, self.name, actor, call, signing_key, policy=policy)
            on_own_machine = lifting.lift if module == "freeze_lift" else recovering.approve
            return process(task) if process else on_own_machine(task, transport)
        except HostFailed as error:
            cause = error.__cause__
            raise cause if isinstance(cause, KeyopsError) else error from None
        finally:
            vault.close()

    def _step(self, flow: Callable[[HostTask], FlowResult], task: HostTask) -> FlowResult:
        if self.store is None:
            return flow(task)
        answer = self.store.step(flow.__module__, [task.params, task.check_mode, task.step, task.relay])
        if "error_class" in answer:
            raise getattr(_errors, answer["error_class"])(answer["msg"])
        return FlowResult(**answer)


@dataclass
class Agent:
    """A recovery agent with openssl-made keys, in files or on a card."""

    name: str
    folder: Path
    card: tokens.Store | None = None

    def option(self) -> dict:
        """As in ``recovery_groups``."""
        return {
            "name": self.name,
            "encryption_certificate": (self.folder / "encryption.pem").read_text(),
            "signing_certificate": (self.folder / "signing.pem").read_text(),
            **({"wrapping_certificate": (self.folder / "wrapping.pem").read_text()} if self.wraps else {}),
        }

    @property
    def wraps(self) -> bool:
        """Whether tokens can wrap to this agent."""
        return (self.folder / "wrapping.pem").exists()

    def approve(self, vault_path: Path, request_id: str, owner: str, **more: object) -> dict:
        """Approve on this agent's own machine."""
        machine = Machine(self.name, self.folder, vault_path, on_relay=more.pop("on_relay", None), store=self.card)
        kinds = ("encryption", "signing", *(["wrapping"] if self.wraps else []))
        keys = {f"{kind}_key": self._place(kind) for kind in kinds}
        options: dict = {"request_id": request_id, "expected_owner": owner, "agent": self.name, **keys, **more}
        if self.card:
            on_card = [name for name in keys if str(options[name]).startswith("pkcs11:")]
            options.update({f"{name}_pin": self.card.pins["pin"] for name in on_card})
        return machine.run("recovery_approval", **options)

    def lift(self, vault_path: Path, key_id: str, freeze_id: str, **more: object) -> dict:
        """Lift a key's freezes on the agent's machine."""
        machine = Machine(self.name, self.folder, vault_path, on_relay=more.pop("on_relay", None), store=self.card)
        options: dict = {"key_id": key_id, "freeze_id": freeze_id, "reason": "a test", "agent": self.name, **more}
        pin = {"signing_key_pin": self.card.pins["pin"]} if self.card else {}
        return machine.run("freeze_lift", **{"signing_key": self._place("signing"), **pin, **options})

    def _place(self, kind: str) -> str:
        return self.card.uri("card", object=kind) if self.card else str(self.folder / f"{kind}.key")

    def take_card(self) -> None:
        """Put the keys on a card. The files stay for the tests that play the agent."""
        self.card = tokens.softhsm(self.folder / "card")
        self.card.pins = tokens.new_pins()
        pin = ["--pin", self.card.pins["pin"]]
        made = ["softhsm2-util", "--init-token", "--free", "--label", "card", "--so-pin", self.card.pins["so_pin"]]
        assert self.card.run([*made, *pin]).returncode == 0
        for number, kind in enumerate(("encryption", "signing", "wrapping"), 1):
            named = ["--token", "card", "--label", kind, "--id", f"0{number}"]
            done = self.card.run(["softhsm2-util", "--import", str(self.folder / f"{kind}.key"), *named, *pin])
            assert done.returncode == 0, done.stderr


def make_agent(
    folder: Path, name: str, algorithm: str = "RSA:3072", signing: str = "EC:P-256", wrapping: str | None = None
) -> Agent:
    """Enrol an agent whose keys and self-signed certificates openssl makes."""
    folder = folder / name
    folder.mkdir(parents=True, mode=0o700)
    encryption_usage = "keyEncipherment" if algorithm.startswith("RSA") else "keyAgreement"
    for kind, key_type, usage in (
        ("encryption", algorithm, encryption_usage),
        ("signing", signing, "digitalSignature"),
        *([("wrapping", wrapping, "keyEncipherment")] if wrapping else []),
    ):
        make_certificate(folder / f"{kind}.key", folder / f"{kind}.pem", f"{name} {kind}", key_type, usage)
    return Agent(name, folder)


def signing_entry(private_key: object, **changed: object) -> SigningKey:
    """What the signing register gets when this key (a cryptography object) was made to sign."""
    public_key = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key_id = canonical.digest(public_key)
    entry = {
        **{"key_id": key_id, "usage": "signature", "algorithm": "ed25519", "host": "h", "place": "/k"},
        **{"created": "2026-01-31T12:00:00Z", "public_key": public_key},
        "proof": signing_proof.prove(private_key, key_id),
    }
    return SigningKey(**{**entry, **changed})


def make_certificate(key: Path, certificate: Path, name: str, algorithm: str, usage: str, days: int = 30) -> None:
    """A new key and a self-signed certificate with this keyUsage."""
    kind, _colon, size = algorithm.partition(":")
    option = {"RSA": "rsa_keygen_bits", "EC": "ec_paramgen_curve"}.get(kind)
    choice = ["-pkeyopt", f"{option}:{size}"] if option else []
    openssl("genpkey", "-algorithm", kind, *choice, "-out", key)
    key.chmod(0o600)
    openssl(
        *("req", "-x509", "-new", "-key", key, "-subj", f"/CN={name}", "-days", days, "-out", certificate),
        *("-addext", f"keyUsage=critical,{usage}", "-addext", "basicConstraints=critical,CA:FALSE"),
    )


@dataclass
class Scene:
    """A fleet with one vault and one recovery group of three agents, two of which must agree."""

    folder: Path
    agents: list[Agent] = field(default_factory=list)

    @property
    def vault_path(self) -> Path:
        """The vault's file."""
        return self.folder / "vault" / "vault.db"

    def machine(self, name: str) -> Machine:
        """A host of the fleet."""
        (self.folder / name).mkdir(exist_ok=True, mode=0o700)
        return Machine(name, self.folder / name, self.vault_path)

    def groups(self, threshold: int = 2) -> list[dict]:
        """The option ``recovery_groups``."""
        return [{"name": "office", "threshold": threshold, "agents": [agent.option() for agent in self.agents]}]

    def generate(
        self, host: Machine, name: str = "mail.key", usage: str = "key_agreement", algorithm: str = "ec-p256"
    ) -> str:
        """Generate a key on a host; returns its key ID."""
        key = {"key": str(host.folder / name), "usage": usage, "algorithm": algorithm}
        return host.run("private_key", keys=[key])["results"][0]["key_id"]

    def archive(self, host: Machine, name: str = "mail.key", **options: object) -> dict:
        """Archive one key of a host."""
        item = {"key": str(host.folder / name), **options.pop("item", {})}
        common = {"key_owner": host.name, "recovery_groups": self.groups()}
        return host.run("key_archive", keys=[item], **{**common, **options})

    def requester(self, host: Machine) -> dict:
        """Options of a requester whose key is on the host."""
        key, certificate = host.folder / "requester.key", host.folder / "requester.pem"
        if not key.exists():
            make_certificate(key, certificate, "requester", "EC:P-256", "digitalSignature")
        return {"signing_key": str(key), "signing_certificate": str(certificate)}

    def ask(self, host: Machine, key_ids: list[str], owner: str | None = None, **options: object) -> str:
        """Make a request; returns its ID."""
        common = {"key_owner": owner or host.name, "reason": "a test", **self.requester(host)}
        wanted = [{"key_id": key_id} for key_id in key_ids]
        return host.run("recovery_request", keys=wanted, **{**common, **options})["request_id"]

    def recover(self, host: Machine, request_id: str, key_id: str, name: str = "mail.key", **options: object) -> dict:
        """Put a key back on a host."""
        item = {"key_id": key_id, "key": str(host.folder / name), **options.pop("item", {})}
        return host.run("key_recovery", request_id=request_id, keys=[item], **options)


def make_scene(folder: Path, agents: int = 3) -> Scene:
    """A scene below a folder, with enrolled agents."""
    scene = Scene(folder)
    scene.agents = [make_agent(folder / "agents", f"agent-{number}", "EC:P-256") for number in range(1, agents + 1)]
    return scene
