#!/bin/sh
# Fetches the ClickHouse engine that the lock file pins into deploy/engine/node_modules, and shows how far it is.
# npm checks the package against the hash in package-lock.json. Needs npm; nothing of the package is executed.
set -eu
cd "$(dirname "$0")"

if ! command -v npm >/dev/null 2>&1; then
	echo "engine: npm is missing. Install Node.js (it brings npm), then run: make engine" >&2
	exit 1
fi
case "$(uname -s)-$(uname -m)" in
Linux-x86_64) ;;
*)
	echo "engine: there is no prebuilt engine for $(uname -s) $(uname -m)." >&2
	echo "engine: set KEYPULSE_CLICKHOUSE_BIN to a clickhouse binary, or KEYPULSE_CLICKHOUSE_DSN to a server." >&2
	exit 1
	;;
esac

echo "engine: fetching ClickHouse 26.7 (about 178 MB to download, 570 MB on disk; once)"
npm ci --ignore-scripts --no-audit --no-fund --progress=false --loglevel=error &
npm=$!
trap 'kill $npm 2>/dev/null || true' INT TERM
while kill -0 $npm 2>/dev/null; do
	sleep 1
	size=$(du -sk node_modules 2>/dev/null | cut -f1) || size=0
	if [ -t 2 ]; then
		printf '\rengine: %s MiB unpacked ' "$((${size:-0} / 1024))" >&2
	fi
done
if [ -t 2 ]; then echo >&2; fi
wait $npm || {
	echo "engine: npm could not fetch it (see above). Check the network, then run: make engine" >&2
	exit 1
}

lib=node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
if [ ! -f "$lib" ]; then
	echo "engine: npm installed no library. Look at its messages above, then run: make engine" >&2
	exit 1
fi
touch node_modules/.fetched
echo "engine: ready: deploy/engine/$lib"
