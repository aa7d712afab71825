// Puts a .br and a .gz beside every built file that becomes smaller by it: the server sends them as they are.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const root = "dist/app";
let plain = 0;
let sent = 0;
for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath ?? entry.path, entry.name);
  const body = readFileSync(path);
  const br = brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  const gz = gzipSync(body, { level: 9 });
  if (br.length < body.length) writeFileSync(path + ".br", br);
  if (gz.length < body.length) writeFileSync(path + ".gz", gz);
  plain += body.length;
  sent += Math.min(br.length, body.length);
}
console.log(`dashboard: ${(plain / 1024).toFixed(0)} KiB, ${(sent / 1024).toFixed(0)} KiB on the wire`);
