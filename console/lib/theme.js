// Light or dark: what the reader chose, else what the link to this page asked for, else what the system says.

const PLACE = "keygate-theme";

export function chosenTheme() {
    return stored() ?? "system";
}

export function chooseTheme(theme) {
    try {
        if (theme === "system") localStorage.removeItem(PLACE);
        else localStorage.setItem(PLACE, theme);
    } catch {
        // Where storage is forbidden the choice lasts as long as the page.
    }
    show(theme);
}

/** For a session that comes with a theme. */
export function suggestTheme(theme) {
    if (!stored() && theme) show(theme);
}

/** Calls back when colours change, by whatever cause. */
export function onThemeChange(listener) {
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", listener);
    const watcher = new MutationObserver(listener);
    watcher.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => {
        system.removeEventListener("change", listener);
        watcher.disconnect();
    };
}

function show(theme) {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
}

function stored() {
    try {
        const theme = localStorage.getItem(PLACE);
        return theme === "light" || theme === "dark" ? theme : null;
    } catch {
        return null;
    }
}
