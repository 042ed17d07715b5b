# shellcheck shell=bash
# Run on a host with the folder of its certificates: encrypts to its keys as others would, and prints what they keep, as an
# archive in base64.
#   bash -c "$(cat encrypt.sh)" encrypt FOLDER
set -euo pipefail
keys="$1"
kept="$(mktemp -d)"
trap 'rm -r "$kept"' EXIT
cd "$kept"

openssl x509 -in "$keys/mail.pem" -noout -pubkey >mail.pub
openssl pkey -in "$keys/old.key" -pubout -out old.pub
for name in mail old; do
    printf 'Encrypted to %s before the loss.' "$name" |
        openssl pkeyutl -encrypt -pubin -inkey "$name.pub" -out "$name.bin"
done

openssl x509 -in "$keys/talk.pem" -noout -pubkey >talk.pub
openssl ecparam -name prime256v1 -genkey -noout -out peer.key
openssl pkey -in peer.key -pubout -outform DER -out peer.der
openssl pkeyutl -derive -inkey peer.key -peerkey talk.pub -out talk.secret
rm peer.key
tar -c . | base64
