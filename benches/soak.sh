#!/usr/bin/env bash
# 30 s of load by wrk through keygate to nginx, all on loopback: no failed request, no growth of memory, every core used.
# Usage: benches/soak.sh [seconds] [connections]; needs nginx, wrk, curl and a release build.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30} connections=${2:-64}
PATH=$PATH:/usr/sbin
dir=$(mktemp -d)
cleanup() {
    [ -n "${gateway:-}" ] && kill "$gateway" 2>/dev/null || true
    [ -n "${backend:-}" ] && kill "$backend" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

cat >"$dir/nginx.conf" <<CONF
worker_processes 1; daemon off; pid $dir/nginx.pid; error_log $dir/error.log;
events { worker_connections 2048; }
http {
    access_log off; keepalive_requests 100000000;
    client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/f; uwsgi_temp_path $dir/u; scgi_temp_path $dir/s;
    server { listen 127.0.0.1:18700; location / { default_type application/json; return 200 '{"id":7,"name":"widget","price":19.99}'; } }
}
CONF
secret=kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm
cat >"$dir/keygate.yaml" <<CONF
listeners: [{address: "127.0.0.1:18701"}]
operations: {address: "127.0.0.1:18702"}
logs: {requests: {file: "$dir/requests.log"}, sample: 0.01}
upstreams: {backend: {targets: ["http://127.0.0.1:18700"]}}
routes: {all: {path: /, upstream: backend}}
plans: {free: {limits: {second: {requests: 1000000, per: 1s}}}}
keys: {key_soak: {name: soak, owner: me, plan: free, digest: "sha256:7a01b16483b89cd1098c24da18e4ff0aa448da22b0c0835e5dda910e020d1bcd"}}
CONF
nginx -c "$dir/nginx.conf" & backend=$!
target/release/keygate serve --config "$dir/keygate.yaml" 2>"$dir/keygate.log" & gateway=$!
until curl -sf http://127.0.0.1:18702/readyz >/dev/null; do sleep 0.1; done

resident_kib() { awk '/VmRSS/ {print $2}' "/proc/$gateway/status"; }
load() { wrk -t1 -c"$connections" -d"$1" -H "X-API-Key: $secret" http://127.0.0.1:18701/; }
load 5s >/dev/null
before=$(resident_kib)
load "${seconds}s" | tee "$dir/wrk.txt"
after=$(resident_kib)
echo "resident memory: $before KiB before, $after KiB after"
awk '{print "CPU of thread:", $2, ($14 + $15) / 100 " s"}' /proc/"$gateway"/task/*/stat | grep data-
if grep -E "Non-2xx|Socket errors" "$dir/wrk.txt"; then
    echo "failed requests"
    exit 1
fi
if [ "$after" -gt $((before + 4096)) ]; then
    echo "memory has grown"
    exit 1
fi
