// A shop of which React owns the whole document, as with Next.js or Remix. The server writes it, then the browser's
// React takes it over: `?late` says how many milliseconds after the page has loaded.
import {useState} from "react"

export function Shop({chat}) {
  const [number, setNumber] = useState(0)
  return (
    <html lang="en" data-chat={chat}>
      <head>
        <meta charSet="utf-8" />
        <meta name="viewport" content="width=device-width" />
        <title>Shop</title>
        <script async src={`${chat}/static/loader.js`} />
        <script defer src="shop.js" />
      </head>
      <body>
        <h1>Lamps</h1>
        <button id="buy" onClick={() => setNumber(number + 1)}>{`Bought: ${number}`}</button>
      </body>
    </html>
  )
}
