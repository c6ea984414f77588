// Loads what a part of the page shows, and keeps the old while the new is on its way.

import { useCallback, useLayoutEffect, useState } from "./ui.js";

/** What takes less is shown without a word that it is being loaded. */
const PATIENCE_MS = 300;

/**
 * `{value, error, isSlow, reload}`: `fetchIt(signal)` is called at first and whenever one of `reasons` changes.
 */
export function useLoad(fetchIt, reasons) {
    const [state, setState] = useState({ value: undefined, error: null, isSlow: false });
    const [round, setRound] = useState(0);
    // Not after the next frame: the question is on its way while the browser paints.
    useLayoutEffect(() => {
        const abort = new AbortController();
        const show = (next) => abort.signal.aborted || setState((state) => ({ ...state, ...next }));
        const slow = setTimeout(() => show({ isSlow: true }), PATIENCE_MS);
        fetchIt(abort.signal)
            .then((value) => show({ value, error: null, isSlow: false }))
            .catch((error) => show({ error, isSlow: false }))
            .finally(() => clearTimeout(slow));
        return () => {
            clearTimeout(slow);
            abort.abort();
        };
    }, [...reasons, round]);
    const reload = useCallback(() => setRound((round) => round + 1), []);
    return { ...state, reload };
}
