# shellcheck shell=bash
# Run on a host with the folder of its keys: encrypts a message to each certificate MESSAGE..., and agrees on a secret with
# each key AGREEMENT..., as others would. Prints what they keep, as an archive in base64.
#   bash -c "$(cat encrypt.sh)" encrypt FOLDER "MESSAGE..." "AGREEMENT..."
set -euo pipefail
keys="$1" messages="$2" agreements="$3"
kept="$(mktemp -d)"
trap 'rm -r "$kept"' EXIT
cd "$kept"

for name in $messages; do
    cp "$keys/$name.pem" .
    printf 'Encrypted to %s before the loss.' "$name" |
        openssl cms -encrypt -aes-256-cbc -binary -outform DER -out "$name.p7m" -recip "$name.pem"
done
for name in $agreements; do
    openssl pkey -in "$keys/$name.key" -pubout -out "$name.pub"
    openssl genpkey -algorithm X25519 -out peer.key
    openssl pkey -in peer.key -pubout -out "$name.peer"
    openssl pkeyutl -derive -inkey peer.key -peerkey "$name.pub" -out "$name.secret"
    rm peer.key
done
tar -c . | base64
