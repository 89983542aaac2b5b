/** The conversation as plain data: what changes when messages come, and what stands together. */

const TOGETHER_MINUTES = 5
const VOTE = /^\s*([01])(\s|$)/ // what Bitrix24 takes for a vote: 1 is good, 0 is not good

/**
 * Merges what the server holds into what is shown, both oldest first. Nothing shown is dropped, because the server
 * marks a deleted message by a new revision. What comes late, from another tab or a slow answer, changes nothing.
 *
 * A message's `id` is null until the server has the message. Its `position` is null until the history brought it; an
 * operator's answer that comes late so stands before messages that were written after it. Returns the merged
 * `messages`, and `changes` in their order: each `message` stands either `insteadOf` one that is shown, or `after`
 * one (undefined: before all).
 */
export function merge(shown, incoming) {
  const messages = [...shown]
  const changes = []
  for (const message of incoming) {
    const index = messages.findIndex(
      ({id, clientId}) => id === message.id || (clientId && clientId === message.clientId),
    )
    if (index < 0) {
      const before = messages.findLastIndex(({position}) => position !== null && position < message.position)
      changes.push({message, after: messages[before]})
      messages.splice(before + 1, 0, message)
    } else if (Number(message.revision) > Number(messages[index].revision)) {
      changes.push({message, insteadOf: messages[index]})
      messages[index] = message
    }
  }
  return {messages, changes}
}

/** For each message: whether it begins a `newDay`, and whether it `follows` the one before as part of one turn. */
export function arrange(messages) {
  return messages.map((message, index) => {
    const previous = messages[index - 1]
    const newDay = previous?.at.toDateString() !== message.at.toDateString()
    const follows =
      !newDay &&
      previous.author === message.author &&
      previous.name === message.name &&
      message.at - previous.at < TOGETHER_MINUTES * 60_000
    return {newDay, follows}
  })
}

/**
 * For each message the vote that it is, "1" or "0", or null. The visitor's first `1` or `0` after a question is the
 * vote. `messages` have `asksForVote`, `author` and `words`.
 */
export function votes(messages) {
  let asked = false
  return messages.map(({asksForVote, author, words}) => {
    asked ||= asksForVote
    const vote = asked && author === "visitor" ? VOTE.exec(words)?.[1] : null
    if (vote) asked = false
    return vote ?? null
  })
}
