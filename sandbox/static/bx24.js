// The part of Bitrix24's page library that an application's pages use here.
// It talks to the portal's page around the frame.
(() => {
  const tell = (kind, more) => window.parent.postMessage({ sandbox: kind, ...more }, "*");
  const field = (name) => new URLSearchParams(location.search).get(name) ?? "";
  const later = (done) => done && queueMicrotask(done);
  window.BX24 = {
    init: later,
    ready: later,
    install: later,
    installFinish: () => tell("installFinish"),
    closeApplication: () => tell("close"),
    getAuth: () => ({ domain: field("DOMAIN"), access_token: field("AUTH_ID") }),
    getLang: () => field("LANG"),
    getDomain: () => field("DOMAIN"),
    isAdmin: () => true,
    fitWindow: () => tell("resize", { height: document.documentElement.scrollHeight }),
    resizeWindow: (width, height) => tell("resize", { width, height }),
    placement: { info: () => ({ placement: field("PLACEMENT") || "DEFAULT", options: {} }) },
  };
})();
