const mappedToNothing = /[\u00AD\u034F\u1806\u180B-\u180D\u200B-\u200D\u2060\uFE00-\uFE0F\uFEFF]/g
const spaces = /[\u00A0\u1680\u2000-\u200A\u202F\u205F\u3000]/g
/** Control, private use, surrogate and non-character code points, and those that change how text is shown or tagged. */
const prohibited = /[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}\u06DD\u070F\u180E\u200E\u200F\u2028-\u202E\u2061-\u2063\u206A-\u206F\u2FF0-\u2FFB\uFFF9-\uFFFD\u{1D173}-\u{1D17A}\u{E0001}-\u{E007F}]/u

/**
 * Makes two ways to write a name or password the same (SASLprep, RFC 4013): spaces and invisible characters are mapped, the
 * rest is normalised by NFKC of the Unicode version that Node has. Undefined where nothing is left or something prohibited is.
 * The rules for bidirectional text and unassigned code points are not checked: they would only refuse more.
 */
export function saslPrepare (text: string): string | undefined {
  const prepared = text.replace(mappedToNothing, '').replace(spaces, ' ').normalize('NFKC')
  return prepared === '' || prohibited.test(prepared) ? undefined : prepared
}
