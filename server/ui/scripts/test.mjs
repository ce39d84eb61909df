// Compile the pure modules and their tests, which Node 20 cannot run as TypeScript, and run them with node --test.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const project = join(import.meta.dirname, "..");
const compiled = mkdtempSync(join(tmpdir(), "flamewire-ui-test-"));
const run = (command, args) => spawnSync(command, args, { cwd: project, stdio: "inherit" }).status ?? 1;

try {
  writeFileSync(join(compiled, "package.json"), '{"type": "module"}');
  const tsc = join(project, "node_modules/typescript/bin/tsc");
  process.exitCode = run(process.execPath, [tsc, "-p", "tsconfig.test.json", "--outDir", compiled]);
  if (process.exitCode === 0) {
    const tests = readdirSync(join(compiled, "tests")).map((name) => join(compiled, "tests", name));
    process.exitCode = run(process.execPath, ["--test", ...tests]);
  }
} finally {
  rmSync(compiled, { recursive: true, force: true });
}
