#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell the public facts of private keys and what shows their usage."""

from __future__ import annotations

DOCUMENTATION = r"""
module: private_key_info
short_description: Tell the public facts of private keys and what shows their usage
version_added: 0.1.0
description:
  - Tells of each key its key ID, algorithm, usage, container and file, and never its material.
  - Gathers the evidence of its usage on the host, which is certificates and certificate requests for the same public
    key, SSH, and the receipt of its archive, and tells whether it may be archived or why not.
  - With O(search) it discovers private keys and certificates below given folders.
  - A key that is missing or cannot be read is no failure. See RV(results[].exists) and RV(results[].error).
options:
  keys:
    description: The keys to look at.
    type: list
    elements: dict
    default: []
    suboptions:
      key:
        description: Key reference, an absolute path or the C(pkcs11:) URI (RFC 7512) of a key on a token.
        type: str
        required: true
      passphrase:
        description: Passphrase of an encrypted key file.
        type: str
      pin:
        description:
          - User PIN of the token, unless C(pin-source) is in the URI. It is tried once, and each token is logged in to
            once, so it may stand in one item or in O(tokens) for all keys of a token.
          - Without a login, a token shows no private keys.
        type: str
      usage:
        description:
          - The usage that would be declared when the key is archived.
          - It is only needed to see what M(keyops.lifecycle.key_archive) would say of a key that does not carry its
            usage inside itself.
        type: str
        choices: [signature, certificate_signing, authentication, key_transport, key_agreement]
      certificates:
        description: Paths on the host of certificates and certificate requests for this key.
        type: list
        elements: path
        default: []
  search:
    description:
      - Discovers private keys, certificates and certificate requests below folders, by content and not by name, and the
        entries of C(authorized_keys) files.
      - Private keys are found in PEM (several in a file, and inside other text such as configuration files), DER,
        PKCS#12, OpenSSH's and PuTTY's formats and Java keystores (JKS), encrypted ones too. Certificates are found in
        PEM, DER, PKCS#7, PKCS#12 and Java keystores.
      - Symbolic links are not followed, a file with several hard links is read once, and nothing but a regular file is
        opened. Of a file over 1 MiB only the beginning is read. What was left out is told in RV(not_looked_at).
      - Of one file at most 500 keys are returned, 16 of them unreadable.
    type: dict
    suboptions:
      paths:
        description: Absolute paths of folders on the host.
        type: list
        elements: path
        required: true
      missing_paths:
        description:
          - What to do where one of the O(search.paths) is no folder on the host. V(fail) fails and searches nothing,
            V(tell) searches the others and names it in RV(not_looked_at).
          - V(ignore) searches the others and says nothing of what is not there at all.
        type: str
        choices: [fail, tell, ignore]
        default: fail
      recursive:
        description: Whether to look into the folders below them, too.
        type: bool
        default: true
      exclude:
        description:
          - Absolute paths of folders and files that are not looked at. In a part of the path, C(*) stands for any text
            and C(?) for one character, so V(/srv/*/cache) is the folder C(cache) of every folder in C(/srv).
          - A name without a slash stands for every folder and file of that name.
        type: list
        elements: str
        default: []
      one_file_system:
        description:
          - Whether to stay on the file system of each of the O(search.paths).
          - When V(false), network file systems are entered too. The kernel's own ones (C(/proc), C(/sys)) never are.
        type: bool
        default: true
      max_files:
        description: How many files to look into at most.
        type: int
        default: 1000000
      max_seconds:
        description:
          - How long to search at most. What was found until then is returned, and RV(searched.complete) is V(false).
        type: int
        default: 300
      max_results:
        description:
          - How many rows each of RV(results), RV(certificates), RV(certificate_requests) and RV(authorized_keys) may
            have. What is beyond is counted in RV(not_looked_at), and RV(searched.complete) is V(false).
          - A row has about 1 kB. Ansible takes 0.2 seconds for a result of 1 MB and 2.7 seconds for one of 10 MB.
        type: int
        default: 5000
      contents:
        description:
          - Whether to return certificates and requests whole, in RV(certificates[].content). The fleet audit verifies
            signatures with them.
        type: bool
        default: false
      passphrases:
        description:
          - Passphrases that are tried on the PKCS#12 files and encrypted keys that are found, for their public facts.
          - Whoever owns one of these files can make each try cost up to a second, so the tries come last and share what
            is left of O(search.max_seconds).
        type: list
        elements: dict
        default: []
        suboptions:
          passphrase:
            description: One passphrase.
            type: str
            required: true
  tokens:
    description:
      - PKCS#11 tokens on which all private keys are discovered. Certificates on a token are evidence for all keys.
      - The library python-pkcs11 is needed on the host.
    type: list
    elements: dict
    default: []
    suboptions:
      uri:
        description:
          - The C(pkcs11:) URI of the token, with C(module-path), and C(token) or C(serial) when a PIN is given.
        type: str
        required: true
      pin:
        description: User PIN of the token, unless C(pin-source) is in the URI. It is tried once.
        type: str
  authorized_keys:
    description:
      - Further files on the host in C(authorized_keys) format. Keys that stand in one may not be archived.
      - The files of C(AuthorizedKeysFile) of the local users, C(/etc/ssh/authorized_keys*) and the host keys are
        always looked at.
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - keyops.lifecycle.attributes.info
  - keyops.lifecycle.state
  - keyops.lifecycle.step
seealso:
  - module: keyops.lifecycle.private_key
  - module: keyops.lifecycle.key_archive
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: See whether the mail key may be archived
  keyops.lifecycle.private_key_info:
    keys:
      - key: /etc/keyops/mail.key
        certificates:
          - /etc/keyops/mail.pem
  register: mail_key

- name: Discover what is on the host
  keyops.lifecycle.private_key_info:
    search:
      paths:
        - /etc
        - /srv
  register: discovered

- name: Discover what is on a host with a large file server
  keyops.lifecycle.private_key_info:
    search:
      paths:
        - /
      one_file_system: false
      exclude:
        - /srv/media
        - node_modules
      max_seconds: 900
      passphrases:
        - passphrase: "{{ keystore_passphrase }}"
  register: discovered

- name: Discover what is on the host's token
  keyops.lifecycle.private_key_info:
    tokens:
      - uri: pkcs11:token=ops?module-path=/usr/lib/softhsm/libsofthsm2.so
        pin: "{{ ops_pin }}"
  register: on_token

- name: Name the keys that may not be archived, and why
  ansible.builtin.debug:
    msg: "{{ item.key }}: {{ item.refusal.message }}"
  loop: "{{ discovered.results | selectattr('refusal') }}"
  loop_control:
    label: "{{ item.key }}"
"""

RETURN = r"""
results:
  description: One item per item of O(keys), in the same order, then one per key that O(search) has found.
  returned: always
  type: list
  elements: dict
  contains:
    key:
      description: The key reference. In the path of a found key, bytes that are no printable text are escaped.
      type: str
      returned: always
    found:
      description: Whether O(search) has found it.
      type: bool
      returned: always
    part:
      description:
        - Which private key of its file it is, counted from 1 in the file's order. V(null) when the file has one only.
        - M(keyops.lifecycle.key_archive) takes files with one key.
      type: int
      returned: always
    exists:
      description: Whether there is anything at this reference.
      type: bool
      returned: always
    key_id:
      description: The key ID, which is the SHA-256 of the public key. V(null) when the key cannot be read.
      type: str
      returned: always
      sample: 4d6a0b0b1ab3f5e3fd0c9a7f3b0d4a0b2e9e4c0a7f6b5d1d2c3b4a5968778695
    algorithm:
      description: The key's algorithm. V(null) when the key cannot be read.
      type: str
      returned: always
      sample: rsa-3072
    usage:
      description:
        - The usage that the key carries inside itself, or that its attributes on a token bind it to, or V(null).
        - On a token, every key that may sign has V(signature), since attributes do not tell the three usages that
          sign apart.
        - V(conflict) when it carries several, or one that cannot be read.
      type: str
      returned: always
      sample: key_transport
    container:
      description:
        - V(pkcs8), V(encrypted-pkcs8), V(traditional), V(openssh) or V(token). V(null) when the key cannot be read.
        - For keys that O(search) has found also V(pkcs12), V(putty), V(jks), V(jceks), V(openpgp) and V(ssh1).
          Keys in Java keystores are known by their certificates.
        - Of V(openpgp), V(ssh1), a V(pkcs12) that no passphrase opens and a keystore that cannot be read to its end
          there is a row without a key ID, and RV(results[].error) says that it was not opened.
      type: str
      returned: always
    encrypted:
      description: Whether the private key is encrypted. V(null) when that cannot be told.
      type: bool
      returned: always
    public_key:
      description: The public key in PEM. A certificate can be issued from it for keys that cannot sign a request.
      type: str
      returned: always
    mode:
      description: The file's mode.
      type: str
      returned: always
      sample: '0600'
    owner:
      description: The file's owner.
      type: str
      returned: always
    group:
      description: The file's group.
      type: str
      returned: always
    modified:
      description: When the file was written last. V(null) when it cannot be read.
      type: str
      returned: always
      sample: '2026-01-01T00:00:00Z'
    hard_links:
      description: How many names the file has. Only the first that was seen has a row.
      type: int
      returned: always
    token:
      description: Where a key on a token is, and what the token says of it. V(null) for a file.
      type: dict
      returned: always
      contains:
        label:
          description: Label of the token.
          type: str
          returned: always
        serial:
          description: Serial number of the token.
          type: str
          returned: always
        manufacturer:
          description: Who made the token.
          type: str
          returned: always
        model:
          description: Its model.
          type: str
          returned: always
        object:
          description: Label of the key. V(null) when there is none.
          type: str
          returned: always
        id:
          description: ID of the key (C(CKA_ID)) in hex.
          type: str
          returned: always
        key_type:
          description: Its type, as PKCS#11 calls it.
          type: str
          returned: always
          sample: RSA
        attributes:
          description:
            - The attributes that the token tells, in lower case, as evidence. A key with C(sign) or C(sign_recover)
              signs, and may not be archived, whatever is declared.
            - A key with C(modifiable) is bound to no usage, since that can still be changed.
          type: dict
          returned: always
          sample: {decrypt: true, extractable: true, modifiable: false, sensitive: true, sign: false}
    evidence:
      description: What shows the key's usage. V(null) when the key cannot be read.
      type: dict
      returned: always
      contains:
        certificates:
          description:
            - The named certificates and certificate requests, then those that were found for this key, at most 32.
          type: list
          elements: dict
          returned: success
          contains:
            source:
              description: Path of the file.
              type: str
              returned: always
            kind:
              description: V(certificate) or V(certificate request).
              type: str
              returned: always
            named:
              description: Whether it was named in O(keys[].certificates).
              type: bool
              returned: always
            for_this_key:
              description: Whether its public key is that of this key.
              type: bool
              returned: always
            key_usage:
              description:
                - The bits of the key usage extension by their names in RFC 5280. V(null) without the extension.
              type: list
              elements: str
              returned: always
            extended_key_usage:
              description: The purposes, by name where it is known, otherwise as OID. V(null) without the extension.
              type: list
              elements: str
              returned: always
            subject:
              description: The subject (RFC 4514).
              type: str
              returned: always
            not_after:
              description: When it ends. V(null) for a certificate request.
              type: str
              returned: always
              sample: '2031-01-01T00:00:00Z'
        ssh_uses:
          description: Files in which the public key stands for SSH, at most 32.
          type: list
          elements: str
          returned: success
        receipt:
          description: This host's receipt of the archived key, or V(null).
          type: dict
          returned: success
          contains:
            usage:
              description: The usage under which it was archived.
              type: str
              returned: always
            sealed_key:
              description: SHA-256 of the sealed key, its name in the vault.
              type: str
              returned: always
            log_number:
              description: Number of the last event in the log that the writer saw.
              type: int
              returned: always
    archivable:
      description:
        - Whether the evidence on this host allows the key to be archived. The vault may know more.
        - Nothing is wrapped to find out whether a token gives the key out, so M(keyops.lifecycle.key_archive) may
          still refuse it as C(NotWrappable), when it is not extractable or of a type that the token does not wrap.
      type: bool
      returned: always
    refusal:
      description: Why it may not be archived. V(null) when it may, or when something could not be read.
      type: dict
      returned: always
      contains:
        class:
          description: The refusal's class, for example V(SigningCertificateRefused).
          type: str
          returned: when it is refused
        message:
          description: The reason and the remedy.
          type: str
          returned: when it is refused
    error:
      description: Why the key or one of its certificates cannot be read, or V(null).
      type: dict
      returned: always
      contains:
        class:
          description: The error's class, for example V(WrongPassphrase).
          type: str
          returned: when something cannot be read
        message:
          description: The reason and the remedy.
          type: str
          returned: when something cannot be read
certificates:
  description:
    - One item per certificate that O(search) has found, however many copies of it there are.
    - Nothing in it is verified. Names may hold anything, so characters that are not printable are escaped, and what is
      longer than 512 characters is cut.
  returned: with O(search)
  type: list
  elements: dict
  contains:
    paths:
      description: Where it lies, at most 8 files. In a Java keystore or a PKCS#12 file too.
      type: list
      elements: str
      returned: always
    more_paths:
      description: In how many files more it lies.
      type: int
      returned: always
    key_id:
      description: The key ID of its public key.
      type: str
      returned: always
    algorithm:
      description: The algorithm of its public key.
      type: str
      returned: always
      sample: rsa-3072
    fingerprint:
      description: SHA-256 of the certificate.
      type: str
      returned: always
    subject:
      description: The subject (RFC 4514). V(null) when it cannot be read.
      type: str
      returned: always
    issuer:
      description: The issuer (RFC 4514). V(null) when it cannot be read.
      type: str
      returned: always
    serial:
      description: The serial number in lower-case hex.
      type: str
      returned: always
    not_before:
      description: When it begins. V(null) when that cannot be read.
      type: str
      returned: always
      sample: '2026-01-01T00:00:00Z'
    not_after:
      description: When it ends. V(null) when that cannot be read.
      type: str
      returned: always
      sample: '2031-01-01T00:00:00Z'
    key_usage:
      description: The bits of the key usage extension by their names in RFC 5280. V(null) without the extension.
      type: list
      elements: str
      returned: always
    extended_key_usage:
      description: The purposes, by name where it is known, otherwise as OID. V(null) without the extension.
      type: list
      elements: str
      returned: always
    ca:
      description: Whether its basic constraints say that it is an authority's.
      type: bool
      returned: always
    self_signed:
      description:
        - Whether it names itself as its issuer, by the name and by the key identifiers where it has them.
        - The signature is not verified.
      type: bool
      returned: always
    content:
      description:
        - Base64 of its DER. V(null) without O(search.contents), for a self-signed authority, and when it has more than
          32 KiB.
      type: str
      returned: always
certificate_requests:
  description: One item per certificate request (PKCS#10) that O(search) has found, however many copies there are.
  returned: with O(search)
  type: list
  elements: dict
  contains:
    paths:
      description: Where it lies, at most 8 files.
      type: list
      elements: str
      returned: always
    more_paths:
      description: In how many files more it lies.
      type: int
      returned: always
    key_id:
      description: The key ID of its public key.
      type: str
      returned: always
    algorithm:
      description: The algorithm of its public key.
      type: str
      returned: always
    fingerprint:
      description: SHA-256 of the request.
      type: str
      returned: always
    subject:
      description: The subject (RFC 4514). V(null) when it cannot be read.
      type: str
      returned: always
    key_usage:
      description: The requested bits by their names in RFC 5280. V(null) when none are asked for.
      type: list
      elements: str
      returned: always
    extended_key_usage:
      description: The requested purposes, by name where it is known. V(null) when none are asked for.
      type: list
      elements: str
      returned: always
    content:
      description: Base64 of its DER. V(null) without O(search.contents), and when it has more than 32 KiB.
      type: str
      returned: always
authorized_keys:
  description:
    - One item per entry in the files in which this host's SSH server looks for the keys of its local accounts, in
      O(authorized_keys), and in files below O(search.paths) whose names begin with C(authorized_keys).
    - Comments are not returned, and of options their names only, since both may hold secrets.
  returned: with O(search)
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      returned: always
    line:
      description: The line, counted from 1.
      type: int
      returned: always
    type:
      description: SSH's name of the type of key.
      type: str
      returned: always
      sample: ssh-ed25519
    key_id:
      description: The key ID. V(null) for types that have none, which are those of FIDO tokens, and for broken lines.
      type: str
      returned: always
    algorithm:
      description: The algorithm. V(null) when there is no key ID.
      type: str
      returned: always
    options:
      description: Names of the entry's options, of those that C(sshd(8)) documents.
      type: list
      elements: str
      returned: always
      sample: [command, no-pty]
    mode:
      description: The file's mode.
      type: str
      returned: always
    owner:
      description: The file's owner.
      type: str
      returned: always
receipts:
  description: All receipts of this host, also of keys that are gone.
  returned: with O(search)
  type: list
  elements: dict
  contains:
    key_id:
      description: The key ID.
      type: str
      returned: always
    usage:
      description: The usage under which it was archived.
      type: str
      returned: always
    sealed_key:
      description: SHA-256 of the sealed key, its name in the vault.
      type: str
      returned: always
    log_number:
      description: Number of the last event in the log that the writer saw.
      type: int
      returned: always
    log_digest:
      description: SHA-256 digest of that event.
      type: str
      returned: always
public_keys:
  description:
    - The public keys of RV(certificates), RV(certificate_requests) and RV(authorized_keys) by their key IDs, in base64
      of DER (SubjectPublicKeyInfo). Those of RV(results) stand there.
  returned: with O(search)
  type: dict
searched:
  description: What the search has done.
  returned: with O(search)
  type: dict
  contains:
    files:
      description: How many files it has opened.
      type: int
      returned: always
    folders:
      description: How many folders it has listed.
      type: int
      returned: always
    seconds:
      description: How long it took.
      type: float
      returned: always
    complete:
      description:
        - Whether no bound (O(search.max_files), O(search.max_seconds), O(search.max_results)) has cut it short.
        - Single files and folders that could not be read are told in RV(not_looked_at), and do not count here.
      type: bool
      returned: always
not_looked_at:
  description:
    - What could have shown a key or a key's usage and was not looked at, one sentence each.
    - The search tells at most 100, and how many more there are.
    - When a host returns more rows of a kind than its search was let return (O(search.max_results)), the controller
      leaves the others out, says so here and sets RV(searched.complete) to V(false).
  returned: always
  type: list
  elements: str
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: KeyReferenceError
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {
    **_options.STATE_DIR,
    "keys": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "no_log": False,
        "options": {
            **_options.EXISTING_KEY,
            "pin": {"type": "str", "no_log": True},
            "usage": {"type": "str", "choices": _options.USAGES},
            "certificates": {"type": "list", "elements": "path", "default": []},
        },
    },
    "search": {
        "type": "dict",
        "options": {
            "paths": {"type": "list", "elements": "path", "required": True},
            "missing_paths": {"type": "str", "choices": ["fail", "tell", "ignore"], "default": "fail"},
            "recursive": {"type": "bool", "default": True},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "one_file_system": {"type": "bool", "default": True},
            "max_files": {"type": "int", "default": 1000000},
            "max_seconds": {"type": "int", "default": 300},
            "max_results": {"type": "int", "default": 5000},
            "contents": {"type": "bool", "default": False},
            "passphrases": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "no_log": False,
                "options": {"passphrase": {"type": "str", "required": True, "no_log": True}},
            },
        },
    },
    "tokens": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "no_log": False,
        "options": _options.TOKEN,
    },
    "authorized_keys": {"type": "list", "elements": "path", "default": [], "no_log": False},
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import inspect

    run_module(ARGUMENT_SPEC, inspect.run)


if __name__ == "__main__":
    main()
