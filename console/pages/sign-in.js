// Sign-in with an admin token, and what is said when a session has ended.

import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { send } from "../lib/api.js";
import { Mark } from "../parts/icons.js";
import { Field, Problem } from "../parts/text.js";

export default function SignIn({ last, onSession }) {
    const [refused, setRefused] = useState(null);
    const field = useRef(null);
    useEffect(() => {
        document.title = "Sign in – keygate";
        field.current?.focus();
    }, []);
    const submit = async (event) => {
        event.preventDefault();
        const token = field.current.value.trim();
        try {
            const session = await send("POST", "/v1/session", { token });
            field.current.value = "";
            onSession(session);
        } catch (error) {
            setRefused(error);
            field.current.select();
        }
    };
    const was = last?.session;
    if (was?.isOwner) return html`<${OwnerLeft} was=${was} how=${last.how} />`;
    return html`<main class="sign-in">
        <div class="sign-in-box">
            <${Mark} />
            <h1>Sign in to keygate</h1>
            ${last?.how === "expired" && html`<p class="notice" role="status">Your session has ended. Sign in again to go on where you were.</p>`}
            <form onSubmit=${submit}>
                <${Field} label="Admin token" wrong=${refused?.status === 401 ? "This token is not valid. Look for a line that begins with kga_, all of it." : undefined}>
                    ${(names) => html`<input ref=${field} ...${names} type="password" required autocomplete="current-password" spellcheck="false" placeholder="kga_…" class="mono" />`}
                <//>
                ${refused && refused.status !== 401 && html`<${Problem} error=${refused} />`}
                <button class="primary wide">Sign in</button>
            </form>
            <details>
                <summary>Where is my token?</summary>
                <p>The gateway wrote one into the file that <code>admin.token_files</code> names, at its first start:</p>
                <pre tabindex="0" role="region" aria-label="Command">cat data/admin.token</pre>
                <p>Did you come from another application to see your own keys? Open the link there again: links work once.</p>
            </details>
        </div>
    </main>`;
}

function OwnerLeft({ was, how }) {
    return html`<main class="sign-in">
        <div class="sign-in-box">
            <${Mark} />
            <h1>${how === "left" ? "You are signed out" : "Your session has ended"}</h1>
            <p>To see your keys again, open the page for API keys in the application that you came from.</p>
            ${was.return_url && html`<p><a class="button primary wide" href=${was.return_url}>Back to the application</a></p>`}
        </div>
    </main>`;
}
