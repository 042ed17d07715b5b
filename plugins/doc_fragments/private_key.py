# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of private_key, and of the module that it runs for keys on tokens."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  keys:
    description: The keys. Everything about one key is in one item, and no two items name the same file.
    type: list
    elements: dict
    required: true
    suboptions:
      key:
        description:
          - Key reference. The absolute path of the key's file, whose folder must exist, or the C(pkcs11:) URI
            (RFC 7512) of a key on a token.
          - A URI names the library (C(module-path)), the token (C(token) or C(serial)) and the key's label (C(object)).
            It may name the ID of a new key (C(id)), which otherwise is the first 20 bytes of the key ID, and the file
            with the PIN (C(pin-source=file:/path)). A PIN in it is refused.
          - On a token, the library python-pkcs11 is needed. No label is used twice.
        type: str
        required: true
      pin:
        description:
          - User PIN of the token. It is tried once. For keys on tokens only, unless C(pin-source) is in the URI.
        type: str
      usage:
        description:
          - What the key is for, one value per key. Required for O(keys[].state=present).
          - V(key_transport) keys decrypt keys and messages, V(key_agreement) keys agree on them. These can be archived.
          - V(signature), V(certificate_signing) and V(authentication) keys sign. These can never be archived.
        type: str
        choices: [signature, certificate_signing, authentication, key_transport, key_agreement]
      algorithm:
        description:
          - Algorithm and size. Required for O(keys[].state=present).
          - RSA keys can have every usage but V(key_agreement), the C(ec) keys every usage but V(key_transport).
          - V(ed25519) and V(ed448) can only sign, V(x25519) and V(x448) can only have O(keys[].usage=key_agreement).
        type: str
        choices:
          - rsa-2048
          - rsa-3072
          - rsa-4096
          - rsa-6144
          - rsa-8192
          - ec-p256
          - ec-p384
          - ec-p521
          - ed25519
          - ed448
          - x25519
          - x448
      state:
        description:
          - V(present) makes sure that there is a key with this O(keys[].usage) and O(keys[].algorithm).
          - V(absent) removes the key. See O(keys[].destroy_unarchived).
        type: str
        choices: [present, absent]
        default: present
      regenerate:
        description:
          - What happens to an existing key that is not as the options say.
          - V(never) keeps it with a warning.
          - V(fail) ends with an error that names the difference, and nothing is changed.
          - V(partial_idempotence) replaces it when algorithm or usage differ.
          - V(full_idempotence) also replaces it when its protection differs.
            That is when it is encrypted and should not be, or the other way round, when it is not in PKCS#8 format,
            or when nothing shows its usage. On a token, when its attributes are not those of its usage.
          - V(always) makes a new key on every run.
        type: str
        choices: [never, fail, partial_idempotence, full_idempotence, always]
        default: fail
      archive:
        description:
          - Whether a nonsigning key on a token can be archived later. For keys on tokens only.
          - V(required) refuses to make a key that the token cannot wrap. It could never be archived. A key that is
            there and stays inside is kept where this host's receipt shows its archive, as after
            M(keyops.lifecycle.key_recovery).
          - V(possible) lets other keys of the token wrap it, where the token can.
          - V(never) makes a key that nothing ever leaves the token with, wrapped neither.
          - Keys that sign are always made so.
        type: str
        choices: [required, possible, never]
        default: possible
      unwrap:
        description:
          - Whether a key of the usage V(key_transport) on a token may also unwrap keys into that token (C(CKA_UNWRAP)),
            for software that gets its session keys so. Its public half never wraps there.
          - A key that M(keyops.lifecycle.key_recovery) brings back only decrypts, and is kept so where this host's
            receipt shows its archive.
        type: bool
        default: false
      request:
        description:
          - Makes the certificate request of a new nonsigning key on a token. Such a key can sign nothing later.
          - The request is kept in the state folder until M(keyops.lifecycle.csr) hands it out.
          - A key that is there without its request is kept, with a warning.
          - For keys on tokens only.
        type: dict
        suboptions:
          subject:
            description: The distinguished name, as in M(keyops.lifecycle.csr).
            type: raw
          subject_alt_name:
            description: Further names, as in M(keyops.lifecycle.csr).
            type: list
            elements: str
            default: []
          extended_key_usage:
            description: Purposes, as in M(keyops.lifecycle.csr).
            type: list
            elements: str
            default: []
      accept_findings:
        description:
          - A signing key is put on a token only when that keeps every promise which M(keyops.lifecycle.hsm_info)
            probes. Name here those that it may break.
          - The token is probed once, and again when its firmware or its library change. For keys on tokens only.
        type: list
        elements: str
        default: []
      passphrase:
        description:
          - For key files only, as are O(keys[].mode), O(keys[].owner) and O(keys[].group).
          - Encrypts a new key (PBES2 with PBKDF2 and AES-256-CBC), and opens an existing one.
          - Take it from Ansible Vault. Ansible prints the line of a plain variables file when a template in it fails.
        type: str
      mode:
        description:
          - Mode of the file in octal, in quotes. It may let its owner and its group read and write, and nobody else.
        type: str
        default: '0600'
      owner:
        description: Name or number of the user that the file belongs to. The default is the user that the task runs as.
        type: str
      group:
        description: Name or number of the group that the file belongs to. The default is up to the host.
        type: str
      destroy_unarchived:
        description:
          - Lets a key that is not known to sign be replaced or removed although its archive is not confirmed.
          - What was encrypted to such a key is then lost for good.
        type: bool
        default: false
"""
