#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes a secret ID of each AppRole with the server's own command line: make_logins.sh FOLDER NAME=APPROLE...
set -euo pipefail
folder="$1"
umask 077
for item in "${@:2}"; do
    role="auth/approle/role/${item#*=}"
    role_id="$(bao read -field=role_id "$role/role-id")"
    secret_id="$(bao write -f -field=secret_id "$role/secret-id")"
    printf 'auth_method: approle\nrole_id: %s\nsecret_id: %s\n' "$role_id" "$secret_id" >"$folder/${item%%=*}"
done
