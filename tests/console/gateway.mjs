// A real keygate on free ports of this machine, with a folder and an upstream of its own; stopped by `stop()`.

import { spawn } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const PROGRAM = process.env.KEYGATE ?? join(process.env.CARGO_TARGET_DIR ?? join(ROOT, "target"), "debug/keygate");
const START_MS = 20_000;

/** `more`: lines for the end of the file, such as keys; `keepsSecrets`: secrets can be shown again. */
export async function startGateway(more = "", { keepsSecrets = false } = {}) {
    const folder = mkdtempSync(join(tmpdir(), "keygate-console-"));
    const upstream = await listening(createServer((request, answer) => request.resume().on("end", () => answer.end("hello\n"))));
    const port = await freePort();
    const file = join(folder, "keygate.yaml");
    if (keepsSecrets) writeFileSync(join(folder, "console.key"), randomBytes(32), { mode: 0o600 });
    const kept = keepsSecrets ? ", recoverable_secrets: {key_file: ./console.key}" : "";
    const page = `console: {gateway_url: "http://127.0.0.1:${port}/v1/hello"${kept}}`;
    writeFileSync(file, yaml(folder, port, upstream.address().port, `${page}\n${more}`));
    const program = spawn(PROGRAM, ["serve", "--config", file], { stdio: ["ignore", "ignore", "pipe"] });
    const stop = async () => {
        await ended(program);
        upstream.closeAllConnections();
        upstream.close();
        rmSync(folder, { recursive: true, force: true });
    };
    const admin = await adminUrl(program).catch(async (error) => {
        await stop();
        throw error;
    });
    const tokenFile = join(folder, "data/admin.token");
    const token = readFileSync(tokenFile, "utf8").trim();
    return { admin, url: `http://127.0.0.1:${port}/v1/hello`, token, tokenFile, stop, call: caller(admin, token) };
}

function yaml(folder, port, upstreamPort, more) {
    return `
listeners: [{address: "127.0.0.1:${port}"}]
admin: {address: "127.0.0.1:0"}
data_dir: ${folder}/data
threads: 1
upstreams: {backend: {targets: ["http://127.0.0.1:${upstreamPort}"]}}
routes:
  hello: {path: /, upstream: backend}
  orders: {path: /v1/orders, upstream: backend, scopes: ["orders:read"], methods: [GET, POST]}
  health: {path: /health, upstream: backend, access: public}
default_plan: free
plans:
  free: {limits: {burst: {requests: 100, per: 1s}, hourly: {requests: 1000, per: 1h}}, concurrency: 50}
  pro: {limits: {burst: {requests: 200, per: 1s}}}
${more}`;
}

/** Calls the API with the operator's token, or another one. */
function caller(admin, operator) {
    return async (method, path, body, token = operator) => {
        const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
        const answer = await fetch(admin + path, { method, headers, body: body && JSON.stringify(body) });
        const content = answer.status === 204 ? null : await answer.json();
        return { status: answer.status, content };
    };
}

/** Its address stands in the log line that says that all listeners are there. */
function adminUrl(program) {
    return new Promise((found, failed) => {
        let log = "";
        const late = setTimeout(() => failed(new Error(`keygate does not listen:\n${log}`)), START_MS);
        program.on("error", failed);
        program.on("exit", (code) => failed(new Error(`keygate ended with ${code}:\n${log}`)));
        program.stderr.on("data", (text) => {
            log += text;
            const line = /"message":"listening".*?"admin":"([^"]+)"/.exec(log);
            if (!line) return;
            clearTimeout(late);
            found(`http://${line[1]}`);
        });
    });
}

function ended(program) {
    if (program.pid === undefined || program.exitCode !== null) return Promise.resolve();
    const end = new Promise((done) => program.once("exit", done));
    program.kill("SIGTERM");
    return end;
}

export function listening(server, host = "127.0.0.1") {
    return new Promise((done) => server.listen(0, host, () => done(server)));
}

/** Below those that the system gives to outgoing connections: one of these could take it before the gateway does. */
export async function freePort() {
    for (;;) {
        const port = randomInt(20_000, 32_000);
        const server = createServer();
        const isFree = await new Promise((done) => {
            server.once("error", () => done(false));
            server.listen(port, "127.0.0.1", () => done(true));
        });
        if (!isFree) continue;
        await new Promise((done) => server.close(done));
        return port;
    }
}
