// Lines of curl to paste: quoted for a POSIX shell, whatever stands in a value.

/** Where requests of clients go; a placeholder if the gateway does not tell. */
export const gatewayUrl = (session) => session.gateway_url || "https://api.example.com/";

export function curlLine(session, secret) {
    return `curl -i ${quoted(gatewayUrl(session))} \\\n  -H ${quoted(`Authorization: Bearer ${secret}`)}`;
}

/** A line that makes a key through the admin API. */
export function createLine(name) {
    const body = JSON.stringify({ name });
    return [
        `curl ${quoted(`${location.origin}/v1/keys`)} \\`,
        `  -H "Authorization: Bearer $(cat data/admin.token)" \\`,
        `  -H 'Content-Type: application/json' -d ${quoted(body)}`,
    ].join("\n");
}

/** A line that makes a one-time link to an owner's page. */
export function portalLine(owner) {
    const body = JSON.stringify({ owner });
    return [
        `curl ${quoted(`${location.origin}/v1/portal-sessions`)} \\`,
        `  -H "Authorization: Bearer $(cat data/admin.token)" \\`,
        `  -H 'Content-Type: application/json' -d ${quoted(body)}`,
    ].join("\n");
}

function quoted(text) {
    return /^[\w./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
