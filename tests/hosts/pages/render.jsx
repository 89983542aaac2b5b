import {renderToString} from "react-dom/server"
import {Shop} from "./react.jsx"

console.log("<!doctype html>" + renderToString(<Shop chat={process.argv[2]} />))
