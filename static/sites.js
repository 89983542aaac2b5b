/** Whose pages may show the chat, as the server decides it too (`is_listed` in addresses.py). */

/** Whether an origin is one of the sites; `https://*.shop.example` means all subdomains, and not the domain itself. */
export function isListed(origin, sites) {
  return sites.some((site) => {
    const [scheme, domain] = site.split("*")
    return domain ? origin.startsWith(scheme) && origin.endsWith(domain) : origin === site
  })
}
