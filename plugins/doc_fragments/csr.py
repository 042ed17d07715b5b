# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of csr, and of the module that it runs for keys on tokens."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
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
            description:
              - Key reference of the key that signs, an absolute path or a C(pkcs11:) URI.
              - Its type is RSA, P-256, P-384, P-521 or Ed25519.
            type: str
            required: true
          passphrase:
            description: Passphrase of that key, when it is an encrypted file.
            type: str
          pin:
            description: User PIN of the token of that key, unless C(pin-source) is in its URI.
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
"""
