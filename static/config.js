/** What the server tells the page's scripts: addresses, limits, and texts in the visitor's language. */

export const {ajax, files, lang, limit, sites, texts} = JSON.parse(document.getElementById("config").textContent)
