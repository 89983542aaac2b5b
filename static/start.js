/** Starts the chat on a page of its own, or on one that a site frames without the loader. */

import {startChat} from "./chat.js"
import {ajax} from "./config.js"
import {FramedVisitor, Visitor} from "./visitor.js"

startChat(window.parent === window ? new Visitor(ajax) : new FramedVisitor(ajax))
