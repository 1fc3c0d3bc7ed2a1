// A page of "lskd report --watch" reloads itself, at the same place, when it has been rewritten.
// A script element can be read from disk, where a request is not allowed.
const { version } = document.body.dataset;
const SCROLL_KEY = `${STORE} place`;
if (version) {
  globalThis.lskdVersion = (current) => {
    if (current === version) return;
    const element = all("section, figure").filter((item) => item.offsetHeight)
      .findLast((item) => item.getBoundingClientRect().top <= innerHeight / 2);
    const offset = element ? element.getBoundingClientRect().top : -scrollY;
    const { id = "", dataset = {} } = element ?? {};
    storage.set(SCROLL_KEY, { id, figure: dataset.figure, offset });
    location.reload();
  };
  setInterval(() => {
    const script = document.createElement("script");
    script.src = `version.js?${Date.now()}`;
    script.onload = script.onerror = () => script.remove();
    document.head.append(script);
  }, 2000);
}
const place = storage.get(SCROLL_KEY);
if (place) {
  storage.set(SCROLL_KEY, null);
  history.scrollRestoration = "manual";
  const restore = () => {
    const element = all("section, figure").find(
      (item) => item.id === place.id && item.dataset.figure === place.figure,
    );
    scrollTo(0, (element ? element.getBoundingClientRect().top + scrollY : 0) - place.offset);
  };
  restore();
  addEventListener("load", () => requestAnimationFrame(restore));
}
