/** Whether there is anything to see in a text. `visible.py` says the same on the server. */

// Spaces, controls, what Unicode lets programs leave out (joiners, fillers, selectors), and marks without a letter.
const SEEN = /[^\s\p{Z}\p{Cc}\p{Cf}\p{Mn}\p{Me}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\u2800\ufff9-\ufffc]/u

export function isVisible(text) {
  return SEEN.test(text)
}
