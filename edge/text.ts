/** Text in the canonical form (`protocol.md` §1.1, §1.2). */

const NOT_LITERAL = /[^ !#-[\]-~]/g
const LITERAL = /^[ !#-[\]-~]*$/
const LONE_SURROGATE = /\p{Surrogate}/u

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\t': '\\t',
  '\n': '\\n',
  '\f': '\\f',
  '\r': '\\r',
}

/** Whether no surrogate stands alone. */
export function isWellFormed(text: string): boolean {
  return LITERAL.test(text) || !LONE_SURROGATE.test(text)
}

/** How long a text becomes when it is escaped. Costs no memory, whatever the text. */
export function escapedLength(text: string): number {
  if (LITERAL.test(text)) return text.length
  let length = 0
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit >= 0x20 && unit < 0x7f) length += unit === 0x22 || unit === 0x5c ? 2 : 1
    else length += unit >= 8 && unit <= 13 && unit !== 11 ? 2 : 6
  }
  return length
}

/** The text between the quotes. */
export function escapeText(text: string): string {
  return LITERAL.test(text) ? text : text.replace(NOT_LITERAL, escapeUnit)
}

function escapeUnit(unit: string): string {
  return SHORT_ESCAPES[unit] ?? `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}
