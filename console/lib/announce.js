// What has just happened, for eyes and for screen readers: shown at the bottom of the page for a while.

let listener = () => {};

export function announce(text) {
    listener(text);
}

export function onAnnounce(listen) {
    listener = listen;
}
