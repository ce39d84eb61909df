// Print what the page weighs on the wire, and fail the build when it is over the budget.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const BUDGET_BYTES = 80 * 1024;
const BUILT = join(import.meta.dirname, "../../src/flamewire_server/_ui");

let sumBytes = 0;
for (const entry of readdirSync(BUILT, { recursive: true, withFileTypes: true })) {
  if (!/\.(js|css|html)$/.test(entry.name)) continue;
  const bytes = gzipSync(readFileSync(join(entry.parentPath, entry.name)), { level: 9 }).length;
  console.log(`${(bytes / 1024).toFixed(1).padStart(6)} KB gz  ${entry.name}`);
  sumBytes += bytes;
}
console.log(`${(sumBytes / 1024).toFixed(1).padStart(6)} KB gz  of ${BUDGET_BYTES / 1024} KB allowed`);
if (sumBytes > BUDGET_BYTES) process.exitCode = 1;
