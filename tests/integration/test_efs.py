# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EFS files after the loss of their keys, through ansible-playbook.

Two generations of a user's key and a data recovery agent's key are generated here, archived, and certified by openssl
with what Windows asks for, and nothing more. mkntfs and ntfs-3g make a volume with files for these certificates; the
keys are destroyed. Then a quorum gives back the user's history, of which nothing touches the disk, and the agent's key,
which goes into a file. Every file is compared byte by byte.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import story
import tokens
import yaml
from efs_image import CIPHERS, EfsFile, content_of, make_image
from leak_hunt import hunter, key_numbers
from leak_hunt.needles import Secret
from local_play import Controller, task

PAGE = Path(__file__).resolve().parents[2] / "docs" / "efs.md"
OWNERS = {"anna-2023": "anna", "anna-2025": "anna", "dra": "recovery-desk"}
PURPOSES = {"anna-2023": "msEFS", "anna-2025": "msEFS", "dra": "msEFSRecovery"}


@dataclass
class Case:
    """The story as it was played: folders, the files of the volume by name, and what the tasks returned."""

    folder: Path
    files: dict[str, EfsFile]
    key_ids: dict[str, str]
    sums: list[str]
    first: dict = field(default_factory=dict)
    again: dict = field(default_factory=dict)
    by_agent: dict = field(default_factory=dict)
    key_files: list[str] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list, repr=False)

    def row(self, name: str, source: int = 0) -> dict:
        """What a task returned of one source."""
        return getattr(self, name)["results"][source]

    def expect(self, dest: Path, names: set[str]) -> None:
        """Exactly these files are there, byte for byte, with mode 0600 or, sealed, 0400."""
        there = {str(path.relative_to(dest)): path for path in dest.rglob("*") if path.is_file()}
        assert set(there) == names
        for name, path in there.items():
            assert path.read_bytes() == self.files[name].content, name
            assert path.stat().st_mode & 0o177 == 0 and path.parent.stat().st_mode & 0o077 == 0


def sum_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def told(folder: Path, name: str) -> dict:
    """The task that writes down what another returned."""
    copied = {"content": "{{ " + name + " | to_json }}", "dest": str(folder / f"{name}.json"), "mode": "0600"}
    return {"name": "note", "ansible.builtin.copy": copied}


def enrolment(scene: story.Scene, keys: Path, state: dict) -> list[dict]:
    """Generate, archive, and request certificates; a nonsigning key is certified when it is archived."""
    places = {name: {"key": str(keys / f"{name}.key")} for name in OWNERS}
    wishes = [{**one, "usage": "key_transport", "algorithm": "rsa-2048"} for one in places.values()]
    requests = [
        {**one, "path": str(keys / f"{name}.csr"), "subject": f"CN={name}", "extended_key_usage": [PURPOSES[name]]}
        for name, one in places.items()
    ]
    return [
        task("private_key", keys=wishes, **state),
        *archiving(scene, keys, state),
        task("csr", keys=requests, **state),
    ]


def archiving(scene: story.Scene, keys: Path, state: dict) -> list[dict]:
    owned = {owner: [name for name in OWNERS if OWNERS[name] == owner] for owner in set(OWNERS.values())}
    options = {"recovery_groups": scene.groups(), **state}
    return [
        task("key_archive", keys=[{"key": str(keys / f"{name}.key")} for name in names], key_owner=owner, **options)
        for owner, names in owned.items()
    ]


def asking(scene: story.Scene, host: story.Machine, owner: str, state: dict) -> list[dict]:
    """The owner's whole history, and two approvals."""
    options = {"key_owner": owner, "reason": "the profile is lost", **scene.requester(host), **state}
    approvals = [
        task(
            "recovery_approval",
            request_id="{{ asked.request_id }}",
            expected_owner=owner,
            agent=agent.name,
            encryption_key=str(agent.folder / "encryption.key"),
            signing_key=str(agent.folder / "signing.key"),
        )
        for agent in scene.agents[:2]
    ]
    return [{**task("recovery_request", **options), "register": "asked"}, *approvals]


def of_the_page(places: dict[str, Path]) -> dict:
    """The task of docs/efs.md, with the places of this test."""
    text = PAGE.read_text().split("```yaml\n")[1].split("```")[0]
    for written, place in places.items():
        assert text.count(written) == 1, written
        text = text.replace(written, str(place))
    (found,) = yaml.safe_load(text)
    return found


def issue(folder: Path, request: Path, certificate: Path) -> None:
    """What an enterprise CA does: it takes over what the request asks for."""
    authority, key = folder / "ca.pem", folder / "ca.key"
    if not authority.exists():
        story.make_certificate(key, authority, "authority", "EC:P-256", "keyCertSign")
    signed_by = ("-CA", authority, "-CAkey", key, "-copy_extensions", "copy", "-days", "30")
    story.openssl("x509", "-req", "-in", request, *signed_by, "-out", certificate)


def files_of(certificates: dict[str, str]) -> list[EfsFile]:
    old, new, agent = ([certificates[name]] for name in ("anna-2023", "anna-2025", "dra"))
    lost = [certificates["lost"]]
    return [
        EfsFile("Users/anna/2023/aes.txt", content_of("aes", 70000), old, agent),
        EfsFile("Users/anna/2023/triple.txt", content_of("triple", 5000), old, agent, "3DES"),
        EfsFile("Users/anna/2023/desx.txt", content_of("desx", 1024), old, cipher="DESX"),
        EfsFile("Users/anna/2025/Übersicht 1.txt", content_of("new", 3333), new, agent),
        EfsFile("Users/anna/2025/both.txt", content_of("both", 700), lost + new, agent),
        EfsFile("Users/anna/2025/none.txt", b"", new),
        EfsFile("Users/anna/2019/lost.txt", content_of("lost", 513), lost),
        EfsFile("Users/anna/plain.txt", b"not encrypted"),
    ]


@pytest.fixture(scope="module", name="case")
def _case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("efs")
    scene = story.make_scene(folder)
    host, controller = scene.machine("pc1"), Controller(folder)
    keys, state = host.folder / "keys", {"state_dir": str(host.folder / "state")}
    keys.mkdir(mode=0o700)
    controller.run(host, enrolment(scene, keys, state))
    for name in OWNERS:
        issue(folder, keys / f"{name}.csr", keys / f"{name}.pem")
    story.make_certificate(folder / "lost.key", folder / "lost.pem", "anna-2019", "RSA:2048", "keyEncipherment")
    certificates = {name: (keys / f"{name}.pem").read_text() for name in OWNERS}
    files = files_of({**certificates, "lost": (folder / "lost.pem").read_text()})
    image, short = folder / "volume.ntfs", folder / "short.ntfs"
    make_image(image, files)
    short.write_bytes(image.read_bytes()[: (3 << 20) + 1000])
    public = [story.openssl("x509", "-in", keys / f"{name}.pem", "-noout", "-pubkey") for name in OWNERS]
    ids = [hashlib.sha256(story.openssl("pkey", "-pubin", "-outform", "DER", stdin=one)).hexdigest() for one in public]
    case = Case(folder, {one.path: one for one in files}, dict(zip(OWNERS, ids)), [sum_of(image), sum_of(short)])

    for name in ("anna-2023", "anna-2025"):
        case.secrets += key_numbers.secrets_of(name, key_numbers.load((keys / f"{name}.key").read_bytes(), None))
    gone = [{"key": str(keys / f"{name}.key"), "state": "absent"} for name in OWNERS]
    controller.run(host, [*archiving(scene, keys, state), task("private_key", keys=gone, **state)])
    case.key_files = [path.name for path in keys.glob("*.key")]

    sealed, open_folder = folder / "case", folder / "by-agent"
    sources = [{"src": str(one), "dest": str(sealed / one.stem)} for one in (image, short)]
    requester = {name: str(value) for name, value in scene.requester(host).items()}
    from_request = task(
        "data_recovery",
        request_id="{{ asked.request_id }}",
        sources=sources,
        seal={"folder": str(sealed), **requester},
        on_failure="report",
        **state,
    )
    agent_key = folder / "pc1" / "dra.key"
    back = [{"key_id": case.key_ids["dra"], "key": str(agent_key)}]
    places = {"/etc/keyops/dra.key": agent_key, "/etc/keyops/dra.pem": keys / "dra.pem"}
    from_file = of_the_page({**places, "/srv/evidence/pc1.ntfs": image, "/srv/cases/4711": open_folder})
    controller.run(
        host,
        [
            *asking(scene, host, "anna", state),
            *({**from_request, "register": "first"}, told(folder, "first")),
            *({**from_request, "register": "again"}, told(folder, "again")),
            *asking(scene, host, "recovery-desk", state),
            task("key_recovery", request_id="{{ asked.request_id }}", keys=back, **state),
            *({**from_file, "register": "by_agent"}, told(folder, "by_agent")),
        ],
    )
    for name in ("first", "again", "by_agent"):
        setattr(case, name, json.loads((folder / f"{name}.json").read_text()))
    return case


def for_certificates(case: Case, *names: str) -> set[str]:
    pems = [(case.folder / "pc1" / "keys" / f"{name}.pem").read_text() for name in names]
    return {path for path, one in case.files.items() if set(pems) & {*one.users, *one.agents}}


def test_the_keys_were_destroyed(case: Case) -> None:
    assert case.key_files == []


def test_the_certificates_are_as_windows_wants_them_and_no_more(case: Case) -> None:
    """No certificate here has what ntfsdecrypt 2022.10.3 takes for an EFS usage."""
    for name, usage in PURPOSES.items():
        text = story.openssl("x509", "-in", case.folder / f"pc1/keys/{name}.pem", "-noout", "-ext", "extendedKeyUsage")
        found = text.decode().split("\n")[1].strip()
        assert found == {"msEFS": "Microsoft Encrypted File System", "msEFSRecovery": "1.3.6.1.4.1.311.10.3.4.1"}[usage]


def test_the_users_files_come_out_straight_from_the_request(case: Case) -> None:
    opened = for_certificates(case, "anna-2023", "anna-2025")
    case.expect(case.folder / "case/volume", opened)
    row = case.row("first")
    assert row["kind"] == "ntfs" and row["changed"] and row["decrypted"] == len(opened)
    assert row["key_ids"] == {case.key_ids["anna-2023"]: 3, case.key_ids["anna-2025"]: 2}


def test_a_missing_generation_is_told_by_its_certificate(case: Case) -> None:
    (failure,) = case.row("first")["failures"]
    lost = story.openssl("x509", "-in", case.folder / "lost.pem", "-outform", "DER")
    assert failure["item"] == "Users/anna/2019/lost.txt" and failure["reason"] == "NoKeyForData"
    assert hashlib.sha1(lost).hexdigest() in failure["detail"]


def test_of_a_truncated_image_comes_what_is_in_it(case: Case) -> None:
    row = case.row("first", 1)
    assert row["items"] == case.row("first")["items"] and row["decrypted"] >= 1
    there = {str(one.relative_to(case.folder / "case/short")) for one in (case.folder / "case/short").rglob("*.txt")}
    assert len(there) == row["decrypted"]
    case.expect(case.folder / "case/short", there)


def test_a_second_run_changes_nothing(case: Case) -> None:
    assert case.first["changed"] and not case.again["changed"]
    assert [row["decrypted"] for row in case.again["results"]] == [row["decrypted"] for row in case.first["results"]]


def test_the_agents_key_opens_what_it_is_for(case: Case) -> None:
    opened = for_certificates(case, "dra")
    # An empty file needs no key.
    case.expect(case.folder / "by-agent", opened | {"Users/anna/2025/none.txt"})
    row = case.row("by_agent")
    assert row["key_ids"] == {case.key_ids["dra"]: len(opened)}
    assert {one["reason"] for one in row["failures"]} == {"NoKeyForData"} and row["failed"] == 2


def test_the_users_keys_are_nowhere(case: Case, tmp_path: Path) -> None:
    """Neither in the folder, nor in the vault, in what the plays printed, or in the host's state."""
    assert len(case.secrets) == 12
    assert not hunter.search(hunter.files_below(case.folder, "efs"), case.secrets, tmp_path)
    # The search finds what is there: the agent's key, which went into a file.
    agent = key_numbers.load((case.folder / "pc1/dra.key").read_bytes(), None)
    assert hunter.search(hunter.files_below(case.folder, "efs"), key_numbers.secrets_of("dra", agent), tmp_path)


def test_the_sources_are_untouched(case: Case) -> None:
    assert [sum_of(case.folder / name) for name in ("volume.ntfs", "short.ntfs")] == case.sums


def test_the_sealed_folder_verifies_from_outside(case: Case) -> None:
    command = ["sha256sum", "--check", "--strict", "--quiet", "outputs.sha256"]
    subprocess.run(command, cwd=case.folder / "case", check=True)


def test_a_key_that_stays_on_its_token(tmp_path: Path) -> None:
    """ntfsdecrypt cannot be given it: the token opens each file's key, and the content is decrypted here."""
    key, certificate, image = (tmp_path / name for name in ("key.pem", "certificate.pem", "volume.ntfs"))
    story.make_certificate(key, certificate, "anna", "RSA:2048", "keyEncipherment")
    files = [
        EfsFile(f"{cipher}.bin", content_of(cipher, 9000), [certificate.read_text()], cipher=cipher)
        for cipher in CIPHERS
    ]
    make_image(image, files)
    token = tokens.softhsm(tmp_path / "token")
    pins = tokens.new_pins()
    named = ["--token", "card", "--label", "efs", "--id", "01", "--pin", pins["pin"]]
    for command in (
        ["--init-token", "--free", "--label", "card", "--so-pin", pins["so_pin"], "--pin", pins["pin"]],
        ["--import", str(key), *named],
    ):
        assert token.run(["softhsm2-util", *command]).returncode == 0
    key.unlink()
    item = {"key": token.uri("card", object="efs"), "pin": pins["pin"], "passphrase": None}
    source = {"src": str(image), "dest": str(tmp_path / "out"), "kind": "auto", "files": []}
    params = {"keys": [{**item, "certificates": [str(certificate)]}], "sources": [source], "seal": None}
    answer = token.call("recover_data", **params, state_dir=str(tmp_path / "state"), report=None, request_id=None)
    (row,) = answer["results"]
    assert row["kind"] == "ntfs" and row["decrypted"] == len(CIPHERS) and not row["failed"]
    for file in files:
        assert (tmp_path / "out" / file.path).read_bytes() == file.content
