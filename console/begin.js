// Before all else, and a classic script on purpose: sets light or dark before the first paint, so that nothing flashes, and asks for what
// the first page shows while the modules are still on their way.
(function () {
    let chosen = null;
    try {
        chosen = localStorage.getItem("keygate-theme");
    } catch {
        // Storage may be forbidden: then the system decides.
    }
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
    const isFirstPage = ["", "#/", "#/keys"].includes(location.hash);
    globalThis.keygateAsked = new Map();
    for (const path of isFirstPage ? ["/v1/session", "/v1/keys?limit=50"] : ["/v1/session"]) {
        const asked = fetch(path, { headers: { Accept: "application/json" }, cache: "no-store", redirect: "error" });
        // Read to its end: nobody may come for it, and it would stay open.
        const answer = asked.then(async (answer) => new Response(await answer.arrayBuffer(), answer));
        // Who takes it later sees the failure; until then it is nobody's.
        answer.catch(() => {});
        globalThis.keygateAsked.set(path, answer);
    }
})();
