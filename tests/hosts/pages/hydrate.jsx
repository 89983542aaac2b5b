import {hydrateRoot} from "react-dom/client"
import {Shop} from "./react.jsx"

const late = new URLSearchParams(location.search).get("late")
const {chat} = document.documentElement.dataset
const hydrate = () => hydrateRoot(document, <Shop chat={chat} />)
if (late === null) hydrate()
else addEventListener("load", () => setTimeout(hydrate, late))
