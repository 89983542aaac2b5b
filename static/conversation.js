/** The conversation as plain data: what changes when messages come, and which messages form a group. */

const TOGETHER_MINUTES = 5 // messages of one author form a group if each comes this soon after the one before
const VOTE = /^\s*([01])(\s|$)/ // what Bitrix24 takes for a vote: 1 is good, 0 is not good

/**
 * Merges what the server holds into what is shown, both oldest first. Nothing shown is dropped, because the server
 * marks a deleted message by a new revision. An older revision, from another tab or a slow answer, changes nothing.
 *
 * A message's `id` is null until the server has the message. Its `position` is null until the server's HTML brings it;
 * by its position an operator's answer that comes late stands before messages that were written after it. Returns the
 * merged `messages`, and `changes` in their order: each `message` is shown either `insteadOf` another or `after`
 * another (undefined: before all).
 */
export function merge(shown, incoming) {
  const messages = [...shown]
  const changes = []
  for (const message of incoming) {
    const index = messages.findIndex(
      ({id, clientId}) => id === message.id || (clientId && clientId === message.clientId),
    )
    if (index < 0) {
      let before = messages.length - 1
      while (before >= 0 && !standsBefore(messages[before], message)) before--
      changes.push({message, after: messages[before]})
      messages.splice(before + 1, 0, message)
    } else if (Number(message.revision) > Number(messages[index].revision)) {
      changes.push({message, insteadOf: messages[index]})
      messages[index] = message
    }
  }
  return {messages, changes}
}

/** A message that is not stored yet has no place of its own. */
function standsBefore({position}, message) {
  return position !== null && position < message.position
}

/** For each message: whether it begins a `newDay`, and whether it `follows` the one before in the same group. */
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
 * For each message "1" or "0" if it is a vote, else null. The vote is the visitor's first `1` or `0` after a message
 * that asks for one. `messages` have `asksForVote`, `author` and `words`.
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
