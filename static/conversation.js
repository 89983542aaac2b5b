/** The conversation as plain data: what changes when messages come, what stands together. No page, no network. */

const TOGETHER_MINUTES = 5

/**
 * Merges what the server holds into what is shown, both oldest first. Nothing shown is dropped, a deletion is a
 * new revision; what comes late, from another tab or a slow answer, changes nothing.
 *
 * A message's `id` is null until the server has it, its `position` until the history brought it: an answer that
 * comes late stands before those written after it. Each of `changes`, in their order, stands `instead` of a
 * message shown, or `after` one.
 */
export function merge(shown, incoming) {
  const messages = [...shown]
  const changes = []
  for (const message of incoming) {
    const known = messages.findIndex(
      ({id, clientId}) => id === message.id || (clientId && clientId === message.clientId),
    )
    if (known < 0) {
      const last = messages.findLastIndex(({position}) => position !== null && position < message.position)
      changes.push({message, after: messages[last]})
      messages.splice(last + 1, 0, message)
    } else if (Number(message.revision) > Number(messages[known].revision)) {
      changes.push({message, instead: messages[known]})
      messages[known] = message
    }
  }
  return {messages, changes}
}

/** Where a new day begins, and which messages continue the one before. */
export function arrange(messages) {
  return messages.map((message, index) => {
    const before = messages[index - 1]
    const newDay = before?.at.toDateString() !== message.at.toDateString()
    const follows =
      !newDay &&
      before.author === message.author &&
      before.name === message.name &&
      message.at - before.at < TOGETHER_MINUTES * 60_000
    return {newDay, follows}
  })
}
