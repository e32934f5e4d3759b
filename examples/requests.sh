#!/bin/sh
# 40 real requests by 8 processes at once, to a server that refuses more than 22 in any second; together they keep to
# 20. Nothing is shared between them but the name "api".
#
#   cargo build --release --bins --examples && sh examples/requests.sh
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${CARGO_TARGET_DIR:-$here/target}/release
work=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server" 2>/dev/null || :; rm -rf "$work"' EXIT INT TERM
export SHM_LIMIT_DIR="$work"        # leave this out to share the limit with everything you run

"$bin/examples/http_server" 22 40 > "$work/.server" &
server=$!
while ! [ -s "$work/.server" ]; do sleep 0.05; done
url=http://127.0.0.1:$(head -n 1 "$work/.server")/

seq 40 | xargs -P 8 -I{} \
    "$bin/shm-limit" run api --rate 20/s -- curl --silent --output /dev/null --write-out '%{http_code}\n' "$url{}" |
    sort | uniq -c

wait "$server"; server=
tail -n 1 "$work/.server"
"$bin/shm-limit" inspect api
if grep -q ' 0 refused' "$work/.server"; then exit 0; fi
echo "the server refused some" >&2
exit 1
