# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vault option."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  vault:
    description:
      - The central vault. It is used on the controller only and never reaches a host.
      - Set it once for all modules with C(module_defaults) and the action group C(group/keyops.lifecycle.vault).
    type: dict
    suboptions:
      backend:
        description:
          - Where the vault is. V(sqlite) is the embedded one, a file on the controller. V(openbao) is a cluster of
            vault servers, OpenBao or another with the same API; it needs the Python library C(hvac) on the controller.
        type: str
        choices: [sqlite, openbao]
        default: sqlite
      path:
        description:
          - For O(vault.backend=sqlite), path of the vault's file on the controller.
          - It is made with mode V(0600) when it does not exist. A file that others can read is refused.
        type: path
      url:
        description:
          - For O(vault.backend=openbao), address of the server or of the load balancer before the cluster, such as
            V(https://vault.example.com:8200). Plain HTTP is refused but on loopback.
          - Without it, the environment variable E(BAO_ADDR) or E(VAULT_ADDR) on the controller is used.
        type: str
      mount:
        description: For O(vault.backend=openbao), path of the key-value secrets engine (version 2).
        type: str
        default: keyops
      namespace:
        description:
          - For O(vault.backend=openbao), the namespace that the secrets engine and the login are in.
          - Without it, E(BAO_NAMESPACE) or E(VAULT_NAMESPACE) is used.
        type: str
      ca_cert:
        description:
          - For O(vault.backend=openbao), path on the controller of the certificates that the server's one must chain
            to.
          - Without it, E(BAO_CACERT) or E(VAULT_CACERT) is used. Without these, the certificates that the Python
            library C(requests) trusts, which are those of C(certifi) or of E(REQUESTS_CA_BUNDLE), not the system's
            store.
        type: path
      validate_certs:
        description: For O(vault.backend=openbao), whether the server's certificate is verified. Leave it on.
        type: bool
        default: true
      auth_method:
        description:
          - For O(vault.backend=openbao), how to log in. One login serves all hosts of a play.
        type: str
        choices: [token, approle, cert, jwt]
        default: token
      auth_mount:
        description: For O(vault.backend=openbao), path of the auth method. The method's name without it.
        type: str
      token:
        description:
          - For O(vault.auth_method=token), the token.
          - Without it, E(BAO_TOKEN), E(VAULT_TOKEN), or the file C(~/.vault-token) that C(bao login) writes is used.
        type: str
      role:
        description: For O(vault.auth_method=jwt) and O(vault.auth_method=cert), name of the role.
        type: str
      role_id:
        description:
          - For O(vault.auth_method=approle), the role ID.
          - Without it, E(BAO_ROLE_ID) or E(VAULT_ROLE_ID) is used.
        type: str
      secret_id:
        description:
          - For O(vault.auth_method=approle), the secret ID.
          - Without it, E(BAO_SECRET_ID) or E(VAULT_SECRET_ID) is used.
        type: str
      jwt:
        description: For O(vault.auth_method=jwt), the JSON Web Token.
        type: str
      client_cert:
        description:
          - For O(vault.backend=openbao), path on the controller of a client certificate (PEM), needed for
            O(vault.auth_method=cert). Without it, E(BAO_CLIENT_CERT) or E(VAULT_CLIENT_CERT) is used.
        type: path
      client_key:
        description:
          - Path on the controller of the private key of O(vault.client_cert), without a passphrase. The certificate's
            file without it. Without it, E(BAO_CLIENT_KEY) or E(VAULT_CLIENT_KEY) is used.
        type: path
      connections:
        description: For O(vault.backend=openbao), how many connections one task of one host may use at once.
        type: int
        default: 16
      timeout:
        description:
          - For O(vault.backend=openbao), seconds that one operation may take with all that is tried again while the
            cluster is sealed, restarts, or elects a leader.
        type: int
        default: 60
      log_signing_key:
        description:
          - Path on the controller of a private key with which the events that this task writes are signed.
          - M(keyops.lifecycle.lifecycle_log_info) verifies them with its certificate.
        type: path
      log_signing_key_passphrase:
        description: Passphrase of O(vault.log_signing_key).
        type: str
"""


#: The same suboptions under the names of a migration's two vaults.
ModuleDocFragment.MIGRATION = "options:\n" + "".join(  # type: ignore[attr-defined]
    f"  {name}:\n    description: {text}\n    type: dict\n    required: true\n    suboptions:\n"
    + ModuleDocFragment.DOCUMENTATION.partition("    suboptions:\n")[2].replace("O(vault.", f"O({name}.")
    for name, text in (
        ("source", "The vault that everything is copied from."),
        ("destination", "The vault that everything is copied to. A missing SQLite vault is made."),
    )
)
