#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Request certificates that allow no more than the key's usage."""

from __future__ import annotations

DOCUMENTATION = r"""
module: csr
short_description: Request certificates that allow no more than the key's usage
version_added: 0.1.0
description:
  - Writes certificate requests (PKCS#10) for private keys in files or on PKCS#11 tokens, any number in one pass.
  - The key usage in a request follows from the key's usage, and the extended key usage is limited by it. So a request
    cannot ask for more than its key is for.
  - A nonsigning key signs nothing but its own request, as proof of possession. It is certified only when this host
    has the receipt of its archive.
  - A signing key on a token signs there. A nonsigning one has the request that was made together with it
    (the option C(request) of M(keyops.lifecycle.private_key)), and can sign no other. It is handed out when this host
    has the receipt. O(keys[].subject), O(keys[].subject_alt_name) and O(keys[].extended_key_usage) say the same as that
    request, or are all left out.
  - A request that says what is asked for, and whose signature verifies, is kept. Another request in its place is
    replaced. Anything else in its place is an error.
  - Keys of the types X25519 and X448 cannot sign. Another key of the same owner, which has a certificate already, signs
    their request and states that the owner has the key (RFC 9883), see O(keys[].possession). Or their certificates are
    issued from the public key alone, which M(keyops.lifecycle.private_key_info) returns.
options:
  keys:
    description: The keys, and where their requests go.
    type: list
    elements: dict
    required: true
    suboptions:
      key:
        description:
          - Key reference, an absolute path or the C(pkcs11:) URI of a key on a token, as in
            M(keyops.lifecycle.private_key).
        type: str
        required: true
      path:
        description: Absolute path of the request. Its folder must exist.
        type: path
        required: true
      usage:
        description:
          - What the key is for. Required for a key that does not carry its usage inside itself. The key file stays as
            it is.
          - It must agree with the usage that the key carries.
          - Required for a key on a token that signs. The token does not tell which usage of those that sign it has.
        type: str
        choices: [signature, certificate_signing, authentication, key_transport, key_agreement]
      passphrase:
        description: Passphrase of an encrypted key file.
        type: str
      pin:
        description: User PIN of the token of a key, unless C(pin-source) is in its URI. It is tried once.
        type: str
      subject:
        description:
          - The distinguished name, either as a string in the form of RFC 4514, or as a dictionary in the order of the
            certificate.
          - Names in a dictionary are those of RFC 4514 and OpenSSL, such as C(CN), C(commonName), C(O), C(OU), C(C),
            C(DC), C(UID) and C(emailAddress), or dotted OIDs. A value may be a list. In a string, RFC 4514 puts the
            most specific name first.
          - Without it, the request has an empty subject, and needs O(keys[].subject_alt_name).
        type: raw
      subject_alt_name:
        description: Further names, of the forms C(DNS:name), C(email:name@domain), C(IP:address) and C(URI:uri).
        type: list
        elements: str
        default: []
      extended_key_usage:
        description:
          - Purposes by name or as dotted OIDs, limited to those that the key's usage allows.
          - C(emailProtection), C(msEFS), C(msEFSRecovery), C(msBitLocker) and C(msDocumentEncryption) for keys of the
            usages V(key_transport) and V(key_agreement).
          - C(codeSigning), C(emailProtection), C(timeStamping), C(OCSPSigning), C(documentSigning) and
            C(msDocumentSigning) for V(signature).
          - C(serverAuth), C(clientAuth), C(ipsecIKE), C(secureShellClient), C(secureShellServer), C(pkinitClient),
            C(pkinitKdc) and C(smartcardLogon) for V(authentication).
          - All of them for V(certificate_signing), where they limit what the authority may issue.
        type: list
        elements: str
        default: []
      certificate_authority:
        description:
          - Ask for a certificate of an authority (C(CA:TRUE)). Only for keys of the usage V(certificate_signing).
        type: bool
        default: false
      possession:
        description:
          - Signs the request of a key that cannot sign (X25519, X448) with another key of the same owner (RFC 9883).
            The request names the certificate of that key. The authority decides whether it accepts such a statement.
          - The subject of the request must be the subject of that certificate.
        type: dict
        suboptions:
          key:
            description: Absolute path of the key that signs, of the types RSA, P-256, P-384, P-521 or Ed25519.
            type: str
            required: true
          passphrase:
            description: Passphrase of that key, when it is encrypted.
            type: str
          certificate:
            description: Absolute path of its certificate in PEM.
            type: path
            required: true
      require_receipt:
        description:
          - Whether a nonsigning key must be archived first, which this host's receipt shows.
          - In check mode a missing receipt is only a warning, since the same run may archive the key.
        type: bool
        default: true
      mode:
        description: Mode of the request in octal, in quotes. Nobody but its owner may write it.
        type: str
        default: '0644'
      owner:
        description:
          - Name or number of the user that the request belongs to. The default is the user that the task runs as.
        type: str
      group:
        description: Name or number of the group that the request belongs to. The default is up to the host.
        type: str
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.policy
  - keyops.lifecycle.state
  - keyops.lifecycle.step
seealso:
  - module: keyops.lifecycle.private_key
  - module: keyops.lifecycle.key_archive
  - module: keyops.lifecycle.private_key_info
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Request the certificates of a mail server
  keyops.lifecycle.csr:
    keys:
      - key: /etc/keyops/tls.key
        path: /etc/keyops/tls.csr
        subject:
          O: Example
          CN: mail.example.com
        subject_alt_name:
          - DNS:mail.example.com
          - DNS:imap.example.com
        extended_key_usage:
          - serverAuth
      - key: /etc/keyops/smime.key
        path: /etc/keyops/smime.csr
        passphrase: "{{ smime_passphrase }}"
        subject: CN=Mail Robot,O=Example
        subject_alt_name:
          - email:robot@example.com
        extended_key_usage:
          - emailProtection
"""

RETURN = r"""
results:
  description: One item per item of O(keys), in the same order.
  returned: always
  type: list
  elements: dict
  contains:
    key:
      description: The key reference.
      type: str
      returned: always
    path:
      description: Path of the request.
      type: str
      returned: always
    changed:
      description: Whether the request was written, or got another mode or owner, or would.
      type: bool
      returned: always
    key_id:
      description: The key ID. V(null) in check mode when the key does not exist yet, as are the following facts.
      type: str
      returned: always
    usage:
      description: The key's usage.
      type: str
      returned: always
      sample: key_transport
    algorithm:
      description: The key's algorithm.
      type: str
      returned: always
      sample: rsa-3072
    subject:
      description: The subject (RFC 4514).
      type: str
      returned: always
      sample: CN=Mail Robot,O=Example
    subject_alt_name:
      description: Further names, sorted.
      type: list
      elements: str
      returned: always
    key_usage:
      description: The bits of the key usage by their names in RFC 5280.
      type: list
      elements: str
      returned: always
      sample: [keyEncipherment, dataEncipherment]
    extended_key_usage:
      description: The purposes, by name where it is known, otherwise as OID.
      type: list
      elements: str
      returned: always
    certificate_authority:
      description: Whether it asks for a certificate of an authority.
      type: bool
      returned: always
    request:
      description: The request in PEM. V(null) in check mode when it would be written.
      type: str
      returned: always
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: NotArchivedRefused
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {
    **_options.STATE_DIR,
    **_options.POLICY,
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            **_options.EXISTING_KEY,
            "pin": {"type": "str", "no_log": True},
            "path": {"type": "path", "required": True},
            "usage": {"type": "str", "choices": _options.USAGES},
            "subject": {"type": "raw"},
            "subject_alt_name": {"type": "list", "elements": "str", "default": []},
            "extended_key_usage": {"type": "list", "elements": "str", "default": []},
            "certificate_authority": {"type": "bool", "default": False},
            "possession": {
                "type": "dict",
                "options": {**_options.EXISTING_KEY, "certificate": {"type": "path", "required": True}},
            },
            "require_receipt": {"type": "bool", "default": True},
            "mode": {"type": "str", "default": "0644"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
    },
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import certificate_request

    run_module(ARGUMENT_SPEC, certificate_request.run)


if __name__ == "__main__":
    main()
