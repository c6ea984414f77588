// The one door to the library that draws: every module takes `html` and the hooks from here.

import { Fragment, createContext, h, render } from "../vendor/preact/preact.js";
import htm from "../vendor/htm/htm.js";

export {
    useCallback,
    useContext,
    useEffect,
    useId,
    useLayoutEffect,
    useMemo,
    useRef,
    useState,
} from "../vendor/preact/hooks.js";
export { Fragment, createContext, render };

export const html = htm.bind(h);
